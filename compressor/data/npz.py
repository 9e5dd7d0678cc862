"""NumPy archives. Pickled arrays are refused: an npz is data, never code. Headers are checked before anything is read,
and images are read a block at a time.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from compressor.data.arrays import ArrayLayout, as_tensor, check_counts
from compressor.data.blocks import rows_per_block
from compressor.data.labels import as_target, stored_type
from compressor.data.parts import Parts
from compressor.data.pool import Pool, SampleBlock
from compressor.data.spec import DataSpec
from compressor.data.tables import ArrayKeys, SourceTable, parts_of
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


class _Archive(SourceTable):
    """The arrays of an npz file, each read only when asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.where = str(path)
        require_regular(path, DataError)
        try:
            with zipfile.ZipFile(path) as archive:
                self._keys = tuple(name.removesuffix(".npy") for name in archive.namelist())
        except Exception as error:  # a damaged archive may be damaged anywhere
            kinds = (
                ""
                if path.suffix == ".npz"
                else "; files of data are .npz, .csv, .tsv and .parquet, and COCO's lie in a folder"
            )
            raise DataError(f"{path} is no npz archive, or is damaged ({error}){kinds}") from None

    def keys(self) -> tuple[str, ...]:
        return self._keys

    def pool(self, x: ArrayKeys, y: ArrayKeys, spec: DataSpec) -> Pool:
        return _Samples(self, x, y, spec)

    def array(self, key: str) -> NDArray[Any]:
        with self.opened(key) as (header, stream):
            if header.nbytes > _LARGE:
                raise DataError(f"{self.path}: {key} is {header.shape} of {header.dtype}, which is too large for it")
            if not header.shape:
                return np.frombuffer(stream.read(), header.dtype).reshape(())
            return _read(stream, header, 0, header.shape[0])

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


class _Samples(Pool):
    """The samples of some arrays of an archive. Small targets are read at once, maps along with the images."""

    def __init__(self, archive: _Archive, x: ArrayKeys, y: ArrayKeys, spec: DataSpec) -> None:
        self._archive = archive
        self.where = f"{archive.path}: {', '.join((*x.values(), *y.values()))}"
        self._keys = tuple(x.values())
        self._layouts = [
            self._layout(key, spec.ranks[number] if number < len(spec.ranks) else 0)
            for number, key in enumerate(self._keys)
        ]
        self.inputs = len(self._keys)
        self._maps: tuple[str, ...] = ()
        if spec.targets != "none" and y:
            self._learn(y, spec)
        counts = {layout.shape[0] for layout in self._layouts}
        if len(counts) > 1:
            raise DataError(f"{self.where}: inputs of {' and '.join(map(str, sorted(counts)))} samples")

    def _layout(self, key: str, rank: int) -> ArrayLayout:
        with self._archive.opened(key) as (header, _):
            return ArrayLayout(header.shape, header.dtype, self.where, rank)

    def _learn(self, y: ArrayKeys, spec: DataSpec) -> None:
        headers = {}
        for name, key in y.items():
            with self._archive.opened(key) as (header, _):
                headers[name] = header
            check_counts(len(self), header.shape[0] if header.shape else 0, self.where)
        if any(len(header.shape) > 2 for header in headers.values()):
            self._maps = tuple(y.values())
            examples = {name: torch.empty(0) for name in y}
            self.read_target = examples if "" not in y else examples[""]
            return
        arrays = {name: self._archive.array(key) for name, key in y.items()}
        known = {name: as_tensor(as_target(array, self.where, spec.targets)) for name, array in arrays.items()}
        self.known = known if "" not in y else known[""]

    def __len__(self) -> int:
        return self._layouts[0].shape[0]

    @property
    def key(self) -> str:
        found = self._archive.path.stat()
        ranks = [layout.rank for layout in self._layouts]
        parts = [*self._keys, *self._maps]
        return json.dumps([str(self._archive.path.absolute()), found.st_size, found.st_mtime_ns, parts, ranks])

    def blocks(self, rows: Tensor) -> Iterator[SampleBlock]:
        with ExitStack() as stack:
            opened = [stack.enter_context(self._archive.opened(key)) for key in (*self._keys, *self._maps)]
            arrays = [_InOrder(header, stream, self.where) for header, stream in opened]
            step = rows_per_block(sum(header.nbytes for header, _ in opened) // len(self))
            for start in range(0, len(self), step):
                stop = min(start + step, len(self))
                parts = [array.read(start, stop) for array in arrays]
                wanted = (rows[(rows >= start) & (rows < stop)] - start).numpy()
                if len(wanted):
                    yield self._block([part[wanted] for part in parts])

    def _block(self, parts: list[NDArray[Any]]) -> SampleBlock:
        block = {
            f"x{n}": layout.images(part) for n, (layout, part) in enumerate(zip(self._layouts, parts, strict=False))
        }
        for number, part in enumerate(parts[self.inputs :]):
            if part.dtype.kind not in "uifb":
                raise DataError(f"{self.where}: targets must be numbers, not {part.dtype}")
            block[f"y{number}"] = as_tensor(np.ascontiguousarray(part, dtype=stored_type(part.dtype)))
        return block


class _InOrder:
    """The samples of one array, from the first one on."""

    def __init__(self, header: _Header, stream: IO[bytes], where: str) -> None:
        self._header = header
        self._stream = stream
        self._whole: NDArray[Any] | None = None
        if header.fortran and len(header.shape) > 1:
            if header.nbytes > _LARGE:
                raise DataError(f"{where}: stored in Fortran order; save np.ascontiguousarray of the images")
            self._whole = _read(stream, header, 0, header.shape[0])

    def read(self, start: int, stop: int) -> NDArray[Any]:
        return _read(self._stream, self._header, start, stop) if self._whole is None else self._whole[start:stop]


def read_npz(spec: DataSpec) -> Parts:
    """The parts of the archive ``spec.npz``. Raises ``DataError``."""
    return parts_of(_Archive(Path(spec.npz).expanduser()), spec)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an archive, by name. Raises ``DataError``."""
    archive = _Archive(path)
    return {key: archive.array(key) for key in sorted(archive.keys())}


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
