"""The files under ``plugin``, with the names of the new package in them."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from compressor.errors import InputError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_FILES = {
    "pyproject.toml.txt": "pyproject.toml",
    "plugin.py.txt": "{module}.py",
    "test_plugin.py.txt": "tests/test_{module}.py",
    "README.md.txt": "README.md",
}
"""Template → where it goes in the package."""


@dataclass(frozen=True)
class PluginNames:
    """What a plugin called ``halve-linear`` is called elsewhere."""

    name: str
    """``halve-linear``, in recipes"""
    package: str
    """``compressor-halve-linear``, for pip"""
    module: str
    """``compressor_halve_linear``, for Python"""
    plugin: str
    """``HalveLinear``, the class"""


def names_of(name: str) -> PluginNames:
    """Raises ``InputError`` for what cannot be the name of a plugin, a package and a module."""
    if not _NAME.fullmatch(name) or len(name) > 50:
        raise InputError(f"{name[:60]!r} is no name for a plugin: lower-case words and digits, joined by '-'")
    package = f"compressor-{name}"
    return PluginNames(name, package, package.replace("-", "_"), name.title().replace("-", ""))


def write_plugin(names: PluginNames, folder: Path) -> list[Path]:
    """Write the package into ``folder``; returns its files. Raises ``InputError`` where the folder holds something."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is there already, and is not empty; name another folder with --out")
    written = []
    for source, target in _FILES.items():
        text = files("compressor.scaffold").joinpath("plugin", source).read_text(encoding="utf-8")
        path = folder / target.format(module=names.module)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(text).substitute(asdict(names)), encoding="utf-8")
        written.append(path)
    return written
