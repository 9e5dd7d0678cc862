"""NumPy archives. Pickled arrays are refused: an npz is data, never code. Headers are checked before anything is read,
and images are read a block at a time.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from compressor.data.arrays import Layout, check_counts
from compressor.data.labels import as_labels
from compressor.data.parts import Parts
from compressor.data.pool import Pool, rows_per_block
from compressor.data.spec import DataSpec
from compressor.data.tables import Table, parts_of
from compressor.errors import DataError
from compressor.files import require_regular

_LARGE: Final = 1 << 30
_MOST_PACKED: Final = 200
"""An array of over a GiB that unfolds by more than this factor is taken for a bomb."""


@dataclass(frozen=True)
class _Header:
    """What an array is, as its first bytes say."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


class _Archive(Table):
    """The arrays of an npz file, each read only when asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.where = str(path)
        require_regular(path, DataError)
        try:
            with zipfile.ZipFile(path) as archive:
                self._keys = {name.removesuffix(".npy") for name in archive.namelist()}
        except Exception as error:  # a damaged archive may be damaged anywhere
            raise DataError(f"{path} is no npz archive, or is damaged ({error})") from None

    def keys(self) -> set[str]:
        return self._keys

    def pool(self, x: str, y: str) -> Pool:
        where = f"{self.path}: {x}, {y}"
        return _Images(self, x, torch.from_numpy(as_labels(self.array(y), where)), where)

    def array(self, key: str) -> NDArray[Any]:
        with self.opened(key) as (header, stream):
            if header.nbytes > _LARGE:
                raise DataError(f"{self.path}: {key} is {header.shape} of {header.dtype}, which is too large for it")
            return _read(stream, header, 0, header.shape[0]) if header.shape else np.array(None)

    @contextmanager
    def opened(self, key: str) -> Iterator[tuple[_Header, IO[bytes]]]:
        """The header of an array, and the stream of its values. Every fault of the file is a ``DataError``."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                entry = archive.getinfo(f"{key}.npy" if f"{key}.npy" in archive.NameToInfo else key)
                if entry.file_size > max(_LARGE, _MOST_PACKED * entry.compress_size):
                    raise ValueError(f"{entry.compress_size:,} bytes unfold to {entry.file_size:,}")
                with archive.open(entry) as stream:
                    header = _read_header(stream)
                    held = entry.file_size - stream.tell()
                    if header.nbytes != held:
                        raise ValueError(f"its header announces {header.nbytes:,} bytes, it holds {held:,}")
                    yield header, stream
        except DataError:
            raise
        except Exception as error:  # whatever zipfile, zlib and NumPy say to a damaged file
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise DataError(f"{self.path}: {key} cannot be read ({reason})") from None


class _Images(Pool):
    """The images of one array of an archive."""

    def __init__(self, archive: _Archive, key: str, labels: Tensor, where: str) -> None:
        self._archive = archive
        self._name = key
        self.labels = labels
        self.where = where
        with archive.opened(key) as (header, _):
            shape = header.shape
            self._layout = Layout(shape, header.dtype, where) if header.shape and shape[0] else None
        check_counts(shape[0] if shape else 0, len(labels), where)

    @property
    def key(self) -> str:
        found = self._archive.path.stat()
        return json.dumps([str(self._archive.path.absolute()), found.st_size, found.st_mtime_ns, self._name])

    def blocks(self, rows: Tensor) -> Iterator[Tensor]:
        assert self._layout is not None
        with self._archive.opened(self._name) as (header, stream):
            if header.fortran and len(header.shape) > 1:
                yield from self._from_columns(header, stream, rows)
                return
            step = rows_per_block(header.nbytes // header.shape[0])
            for start in range(0, header.shape[0], step):
                stop = min(start + step, header.shape[0])
                block = _read(stream, header, start, stop)
                wanted = rows[(rows >= start) & (rows < stop)] - start
                if len(wanted):
                    yield self._layout.images(block[wanted.numpy()])

    def _from_columns(self, header: _Header, stream: IO[bytes], rows: Tensor) -> Iterator[Tensor]:
        assert self._layout is not None
        if header.nbytes > _LARGE:
            raise DataError(f"{self.where}: stored in Fortran order; save np.ascontiguousarray of the images")
        whole = _read(stream, header, 0, header.shape[0])
        for part in torch.split(rows, rows_per_block(header.nbytes // header.shape[0])):
            yield self._layout.images(whole[part.numpy()])


def read_npz(spec: DataSpec) -> Parts:
    """The parts of the archive ``spec.npz``. Raises ``DataError``."""
    return parts_of(_Archive(Path(spec.npz).expanduser()), spec)


def _read_header(stream: IO[bytes]) -> _Header:
    """Raises ``ValueError`` for an array of objects, and what NumPy raises for a header that is none."""
    version = npy.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format is not read")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read; save plain numbers")
    if dtype.itemsize == 0 or not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError(f"its header announces {shape} of {dtype}")
    return _Header(shape, dtype, fortran)


def _read(stream: IO[bytes], header: _Header, start: int, stop: int) -> NDArray[Any]:
    """Samples ``start`` to ``stop`` where ``stream`` stands at ``start``; all of an array in Fortran order."""
    shape = (stop - start, *header.shape[1:])
    content = bytearray(prod(shape) * header.dtype.itemsize)
    view = memoryview(content)
    filled = 0
    while filled < len(content):
        count = stream.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            raise ValueError("it is cut off")
        filled += count
    return np.frombuffer(content, header.dtype).reshape(shape, order="F" if header.fortran else "C")
