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


class MappedFile:
    """An open file mapped into memory; it may be closed then.

    What is written to the tensors stays with this process and may vanish: nobody should. Raises ``OSError``.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._pages = _map(file.fileno())
        self._since = 0

    def tensor(self, offset: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """The tensor at ``offset``. Raises ``ValueError`` where the file ends before it does."""
        if not prod(shape):
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(self._pages, dtype=dtype, count=prod(shape), offset=offset).reshape(shape)

    def touched(self, count: int, places: int) -> None:
        """Say that ``count`` bytes at so many places were read: pages are given back from time to time."""
        self._since += count + places * _AROUND
        if self._since >= _RESIDENT and hasattr(mmap, "MADV_DONTNEED"):
            self._pages.madvise(mmap.MADV_DONTNEED)
            self._since = 0


def _map(file: int) -> mmap.mmap:
    """A private mapping; on Linux one that reserves no memory, since a set may be larger than there is."""
    if sys.platform != "linux":
        return mmap.mmap(file, 0, access=mmap.ACCESS_COPY)
    no_reserve = 0x4000  # MAP_NORESERVE, which the module names from Python 3.13 on
    return mmap.mmap(file, 0, flags=mmap.MAP_PRIVATE | no_reserve, prot=mmap.PROT_READ | mmap.PROT_WRITE)
