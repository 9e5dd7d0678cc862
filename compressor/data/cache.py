"""Parsed samples on disk: one safetensors file per split, written block by block, mapped when read.

Nothing is ever changed in place: a file is complete or absent, so any number of processes may share the folder.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Final

import pooch
import torch
from torch import Tensor

from compressor.data.mapped import MappedFile, Touched

_log = logging.getLogger(__name__)

_TYPES: Final = {"U8": torch.uint8, "F32": torch.float32, "I64": torch.int64, "I16": torch.int16, "BOOL": torch.bool}
_CODES: Final = {kind: code for code, kind in _TYPES.items()}
_BLOCK: Final = 16 << 20
_CHECKED: Final = 1 << 30
"""A larger file is trusted when its length is right; adding up its bytes would take longer than it is worth."""


@dataclass(frozen=True)
class Cached:
    """Tensors of the cache, by name, mapped; where they had come from, and what was found out when they were read."""

    tensors: Mapping[str, Tensor]
    source: str
    touched: Touched
    """To be told of every reading."""
    facts: Mapping[str, str] = field(default_factory=dict)


def cache_folder() -> Path:
    """``$COMPRESSOR_DATA``, else ``data`` in the user's cache folder for the toolkit."""
    chosen = os.environ.get("COMPRESSOR_DATA")
    return Path(chosen).expanduser() if chosen else Path(pooch.os_cache("compressor")) / "data"


def read_cached(folder: Path, split: str) -> Cached | None:
    """What is stored in ``folder`` for a split; None where there is nothing or it is damaged."""
    path = _path(folder, split)
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:  # once: another file may take its place at any moment
            size = os.fstat(file.fileno()).st_size
            entries, metadata, start = _read_header(file, size)
            mapped = MappedFile(file)
            tensors = {name: _tensor(mapped, entry, start) for name, entry in entries.items()}
            stated = metadata.pop("checksum", "")
            intact = size > _CHECKED or stated == _checksum(file, entries, start)
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        _log.warning("%s is damaged (%s) and is ignored", path, error)
        return None
    if not intact:
        _log.warning("%s is damaged (its checksum does not match) and is ignored", path)
        return None
    return Cached(tensors, metadata.pop("source", "unknown"), mapped.touched, metadata)


def write_cached(
    folder: Path,
    split: str,
    count: int,
    blocks: Iterable[Mapping[str, Tensor]],
    source: str,
    facts: Callable[[], Mapping[str, str]] = dict,
) -> bool:
    """Store ``count`` samples that come in ``blocks`` of tensors by name; ``facts`` are asked for when the first of
    them is there.

    False where the folder cannot be written or lacks the room, which is no failure: the next run reads the source
    again. Raises what ``blocks`` raises.
    """
    waiting = iter(blocks)
    first = next(waiting)
    temporary: str | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        size = sum(count * block[:1].nbytes for block in first.values())
        if size + (size >> 6) > shutil.disk_usage(folder).free:
            raise OSError(f"{size:,} bytes do not fit")
        handle, temporary = tempfile.mkstemp(prefix=f".{split}-", suffix=".tmp", dir=folder)
        with open(handle, "w+b") as file:
            _write(file, count, first, waiting, {"source": source, **facts()})
        os.chmod(temporary, 0o644)
        os.replace(temporary, _path(folder, split))
        temporary = None
    except OSError as error:
        _log.info("the cache %s was not written (%s)", folder, error)
        return False
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
    return True


def _write(
    file: BinaryIO,
    count: int,
    first: Mapping[str, Tensor],
    rest: Iterable[Mapping[str, Tensor]],
    notes: Mapping[str, str],
) -> None:
    """Every tensor grows in its own place; the checksum is known last, and its place is kept free."""
    blank = "0" * 8
    entries, end = _entries(count, first)
    text = json.dumps({**entries, "__metadata__": {**notes, "checksum": blank}}).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
    start = file.tell()
    places = {name: start + entry["data_offsets"][0] for name, entry in entries.items()}
    for block in chain((first,), rest):
        _append(file, places, block)
    file.flush()
    if start + end <= _CHECKED:
        checksum = _checksum(file, entries, start)
        file.seek(8 + text.rindex(f'"checksum": "{blank}"'.encode()) + len('"checksum": "'))
        file.write(checksum.encode())


def _append(file: BinaryIO, places: dict[str, int], block: Mapping[str, Tensor]) -> None:
    for name, part in block.items():
        content = _bytes(part)
        file.seek(places[name])
        file.write(content)
        places[name] += len(content)


def _entries(count: int, first: Mapping[str, Tensor]) -> tuple[dict[str, Any], int]:
    """What the header says of every tensor, the wider types first (none lies askew), and where the last one ends."""
    entries: dict[str, Any] = {}
    end = 0
    for name, block in sorted(first.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        begin, end = end, end + count * block[:1].nbytes
        shape = [count, *block.shape[1:]]
        entries[name] = {"dtype": _CODES[block.dtype], "shape": shape, "data_offsets": [begin, end]}
    return entries, end


def _read_header(file: BinaryIO, size: int) -> tuple[dict[str, Any], dict[str, str], int]:
    """Of a safetensors file: its tensors, its metadata, and where the tensors begin. Raises ``ValueError``."""
    length = int.from_bytes(file.read(8), "little")
    if 8 + length > size:
        raise ValueError("it is cut off")
    entries: dict[str, Any] = json.loads(file.read(length))
    metadata = dict(entries.pop("__metadata__", {}))
    end = 8 + length + max(int(entry["data_offsets"][1]) for entry in entries.values())
    if end != size:
        raise ValueError(f"it should have {end} bytes")
    return entries, metadata, 8 + length


def _tensor(file: MappedFile, entry: Mapping[str, Any], start: int) -> Tensor:
    begin, end = entry["data_offsets"]
    shape, dtype = tuple(entry["shape"]), _TYPES[entry["dtype"]]
    if prod(shape) * dtype.itemsize != end - begin:
        raise ValueError(f"its header announces {shape} in {end - begin} bytes")
    return file.tensor(start + begin, shape, dtype)


def _checksum(file: BinaryIO, entries: Mapping[str, Any], start: int) -> str:
    value = 0
    for name in sorted(entries):
        begin, end = entries[name]["data_offsets"]
        file.seek(start + begin)
        for position in range(begin, end, _BLOCK):
            value = zlib.crc32(file.read(min(_BLOCK, end - position)), value)
    return f"{value:08x}"


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().data


def _path(folder: Path, split: str) -> Path:
    return folder / f"{split}.safetensors"
