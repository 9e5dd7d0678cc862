"""Whether two machines would do the same: versions, and the very source, of the toolkit and of a run's plugins.

A version number does not change while somebody works on a plugin; its files do. So the files are what is compared.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from compressor import __version__
from compressor.registry import discover

_LIBRARIES = ("torch", "onnx", "onnxruntime", "numpy")
_MISSING = "not installed"
_DIGITS = 8


@dataclass(frozen=True)
class Toolkit:
    """What a machine has, by name: version, and the first digits of a digest of the source."""

    parts: tuple[tuple[str, str], ...]

    def difference(self, theirs: Toolkit) -> str:
        """What is not the same there, in a few words; empty where everything is."""
        other = dict(theirs.parts)
        unlike = [f"{name} {mine} here, {other.get(name, _MISSING)} there" for name, mine in self.parts]
        return "; ".join(text for text, (name, mine) in zip(unlike, self.parts, strict=True) if other.get(name) != mine)


def toolkit(plugins: Iterable[str]) -> Toolkit:
    """This machine's, with the plugins that a run uses. Imports none of them."""
    parts = {"compressor": f"{__version__} ({_digest('compressor')})"}
    found = {one.name: one for one in discover()}
    for name in sorted(set(plugins)):
        one = found.get(name)
        parts[f"plugin {name}"] = _MISSING if one is None else f"{one.version} ({_digest(one.value.partition(':')[0])})"
    parts |= {name: _version(name) for name in _LIBRARIES}
    return Toolkit(tuple(parts.items()))


def _digest(module: str) -> str:
    """Of every Python file of the top-level package that a module belongs to."""
    spec = importlib.util.find_spec(module.partition(".")[0])
    if spec is None:
        return _MISSING
    folders = list(spec.submodule_search_locations or ())
    files = [file for folder in folders for file in sorted(Path(folder).rglob("*.py"))]
    files = files or ([Path(spec.origin)] if spec.origin else [])
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:_DIGITS]


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return _MISSING
