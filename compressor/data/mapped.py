"""Arrays in files that are mapped into memory: processes share one copy, and the system may take pages back."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable
from math import prod
from typing import BinaryIO, Final

import torch
from torch import Tensor

_RESIDENT: Final = 256 << 20
"""Bytes that may be read before the pages are given back. They stay in the system's file cache, so reading them again
costs little, and the memory of the process stays bounded however large the file is."""
_AROUND: Final = 2 << 20
"""Bytes around a place that is read which the system may map with it: a large page."""
Touched = Callable[[int, int], None]
"""Told after every reading how many bytes were read, and at how many places."""


def map_tensor(file: BinaryIO, offset: int, shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Touched]:
    """The tensor at ``offset`` of an open file, which may be closed then, and what is to be told of every reading.

    What is written to it stays with this process and may vanish: nobody should. Raises ``OSError`` or ``ValueError``.
    """
    pages = _map(file.fileno())
    tensor = torch.frombuffer(pages, dtype=dtype, count=prod(shape), offset=offset).reshape(shape)
    since = 0

    def touched(count: int, places: int) -> None:
        nonlocal since
        since += count + places * _AROUND
        if since >= _RESIDENT and hasattr(mmap, "MADV_DONTNEED"):
            pages.madvise(mmap.MADV_DONTNEED)
            since = 0

    return tensor, touched


def _map(file: int) -> mmap.mmap:
    """A private mapping; on Linux one that reserves no memory, since a set may be larger than there is."""
    if sys.platform != "linux":
        return mmap.mmap(file, 0, access=mmap.ACCESS_COPY)
    no_reserve = 0x4000  # MAP_NORESERVE, which the module names from Python 3.13 on
    return mmap.mmap(file, 0, flags=mmap.MAP_PRIVATE | no_reserve, prot=mmap.PROT_READ | mmap.PROT_WRITE)
