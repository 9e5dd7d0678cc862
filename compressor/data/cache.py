"""Parsed splits on disk: one safetensors file per split, written atomically, checked when read.

Nothing is ever changed in place: a file is complete or absent, so any number of processes may share the folder.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import pooch
from safetensors import SafetensorError
from safetensors.torch import load, save_file

from compressor.data.dataset import Split

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cached:
    """A split from the cache, and where it had come from."""

    split: Split
    source: str


def cache_folder() -> Path:
    """``$COMPRESSOR_DATA``, else ``data`` in the user's cache folder for the toolkit."""
    chosen = os.environ.get("COMPRESSOR_DATA")
    return Path(chosen).expanduser() if chosen else Path(pooch.os_cache("compressor")) / "data"


def read_cached(folder: Path, split: str) -> Cached | None:
    """The split stored in ``folder``, or None where there is none or it is damaged."""
    path = _path(folder, split)
    if not path.is_file():
        return None
    try:
        content = path.read_bytes()  # read at once: the file may be replaced by another at any moment
        tensors, metadata = load(content), _metadata(content)
        found = Split(tensors["images"], tensors["labels"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        _log.warning("%s is damaged (%s) and is ignored", path, error)
        return None
    if metadata.get("checksum") != _checksum(found):
        _log.warning("%s is damaged (its checksum does not match) and is ignored", path)
        return None
    return Cached(found, metadata.get("source", "unknown"))


def write_cached(folder: Path, split: str, content: Split, source: str) -> None:
    """Store a split. A folder that cannot be written is no failure: the next run reads the source again."""
    temporary: str | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{split}-", suffix=".tmp", dir=folder)
        os.close(handle)
        tensors = {"images": content.images.contiguous(), "labels": content.labels.contiguous()}
        save_file(tensors, temporary, metadata={"source": source, "checksum": _checksum(content)})
        os.chmod(temporary, 0o644)
        os.replace(temporary, _path(folder, split))
        temporary = None
    except (OSError, SafetensorError) as error:
        _log.info("the cache %s was not written (%s)", folder, error)
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _metadata(content: bytes) -> dict[str, str]:
    """The notes in a safetensors file: its first eight bytes are the length of a JSON header."""
    length = int.from_bytes(content[:8], "little")
    notes: dict[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return notes


def _path(folder: Path, split: str) -> Path:
    return folder / f"{split}.safetensors"


def _checksum(split: Split) -> str:
    images = zlib.crc32(split.images.contiguous().numpy().data.cast("B"))
    return f"{zlib.crc32(split.labels.contiguous().numpy().data.cast('B'), images):08x}"
