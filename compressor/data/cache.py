"""Parsed splits on disk: one safetensors file per split, written block by block, mapped when read.

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

from compressor.data.dataset import Split
from compressor.data.mapped import Touched, map_tensor

_log = logging.getLogger(__name__)

_TYPES: Final = {"U8": torch.uint8, "F32": torch.float32, "I64": torch.int64}
_CODES: Final = {kind: code for code, kind in _TYPES.items()}
_BLOCK: Final = 16 << 20
_CHECKED: Final = 1 << 30
"""A larger file is trusted when its length is right; adding up its bytes would take longer than it is worth."""


@dataclass(frozen=True)
class Cached:
    """A split from the cache, where it had come from, and what was found out when it was read."""

    split: Split
    source: str
    facts: Mapping[str, str] = field(default_factory=dict)


def cache_folder() -> Path:
    """``$COMPRESSOR_DATA``, else ``data`` in the user's cache folder for the toolkit."""
    chosen = os.environ.get("COMPRESSOR_DATA")
    return Path(chosen).expanduser() if chosen else Path(pooch.os_cache("compressor")) / "data"


def read_cached(folder: Path, split: str) -> Cached | None:
    """The split stored in ``folder``, its images mapped; None where there is none or it is damaged."""
    path = _path(folder, split)
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:  # once: another file may take its place at any moment
            size = os.fstat(file.fileno()).st_size
            header, start = _read_header(file, size)
            images, touched = _map(file, header["images"], start)
            labels = _map(file, header["labels"], start)[0].clone()
            metadata: dict[str, str] = dict(header.get("__metadata__", {}))
            stated = metadata.pop("checksum", "")
            intact = size > _CHECKED or stated == _checksum(file, header, start)
        found = Split(images, labels, touched=touched)
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        _log.warning("%s is damaged (%s) and is ignored", path, error)
        return None
    if not intact:
        _log.warning("%s is damaged (its checksum does not match) and is ignored", path)
        return None
    return Cached(found, metadata.pop("source", "unknown"), metadata)


def write_cached(
    folder: Path,
    split: str,
    labels: Tensor,
    blocks: Iterable[Tensor],
    source: str,
    facts: Callable[[], Mapping[str, str]] = dict,
) -> bool:
    """Store a split whose images come in ``blocks``; ``facts`` are asked for when the first of them is there.

    False where the folder cannot be written or lacks the room, which is no failure: the next run reads the source
    again. Raises what ``blocks`` raises.
    """
    waiting = iter(blocks)
    first = next(waiting)
    temporary: str | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        size = len(labels) * first[:1].nbytes
        if size + (size >> 6) > shutil.disk_usage(folder).free:
            raise OSError(f"{size:,} bytes do not fit")
        handle, temporary = tempfile.mkstemp(prefix=f".{split}-", suffix=".tmp", dir=folder)
        with open(handle, "w+b") as file:
            _write(file, labels, chain((first,), waiting), first, {"source": source, **facts()})
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


def _write(file: BinaryIO, labels: Tensor, blocks: Iterable[Tensor], first: Tensor, notes: Mapping[str, str]) -> None:
    """The labels, then the images; the checksum is known last, and its place is kept free."""
    blank = "0" * 8
    header = _header(labels, (len(labels), *first.shape[1:]), first.dtype, {**notes, "checksum": blank})
    file.write(header)
    file.write(_bytes(labels))
    checksum = 0
    for block in blocks:
        content = _bytes(block)
        checksum = zlib.crc32(content, checksum)
        file.write(content)
    checksum = zlib.crc32(_bytes(labels), checksum)
    file.seek(header.rindex(f'"checksum": "{blank}"'.encode()) + len('"checksum": "'))
    file.write(f"{checksum:08x}".encode())


def _header(labels: Tensor, shape: tuple[int, ...], dtype: torch.dtype, metadata: Mapping[str, str]) -> bytes:
    end = labels.nbytes + prod(shape) * dtype.itemsize
    entries = {
        "labels": {"dtype": "I64", "shape": list(labels.shape), "data_offsets": [0, labels.nbytes]},
        "images": {"dtype": _CODES[dtype], "shape": list(shape), "data_offsets": [labels.nbytes, end]},
        "__metadata__": metadata,
    }
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _read_header(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    """The JSON header of a safetensors file, and where its tensors begin. Raises ``ValueError``."""
    length = int.from_bytes(file.read(8), "little")
    if 8 + length > size:
        raise ValueError("it is cut off")
    header: dict[str, Any] = json.loads(file.read(length))
    end = 8 + length + max(int(header[name]["data_offsets"][1]) for name in ("images", "labels"))
    if end != size:
        raise ValueError(f"it should have {end} bytes")
    return header, 8 + length


def _map(file: BinaryIO, entry: Mapping[str, Any], start: int) -> tuple[Tensor, Touched]:
    begin, end = entry["data_offsets"]
    shape, dtype = tuple(entry["shape"]), _TYPES[entry["dtype"]]
    if prod(shape) * dtype.itemsize != end - begin:
        raise ValueError(f"its header announces {shape} in {end - begin} bytes")
    return map_tensor(file, start + begin, shape, dtype)


def _checksum(file: BinaryIO, header: Mapping[str, Any], start: int) -> str:
    value = 0
    for name in ("images", "labels"):
        begin, end = header[name]["data_offsets"]
        file.seek(start + begin)
        for position in range(begin, end, _BLOCK):
            value = zlib.crc32(file.read(min(_BLOCK, end - position)), value)
    return f"{value:08x}"


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.contiguous().numpy().data.cast("B")


def _path(folder: Path, split: str) -> Path:
    return folder / f"{split}.safetensors"
