"""NumPy archives. Pickled arrays are refused: an npz is data, never code."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data.parts import Parts
from compressor.data.spec import DataSpec
from compressor.data.tables import parts_of
from compressor.errors import DataError


class _Archive(Mapping[str, Any]):
    """The arrays of an npz file, each read only when asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self._keys = tuple(name.removesuffix(".npy") for name in archive.namelist())
        except FileNotFoundError:
            raise DataError(f"{path}: no such file") from None
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is no npz archive, or is damaged ({error})") from None

    def __getitem__(self, key: str) -> Any:
        if key not in self._keys:
            raise KeyError(key)
        try:
            with np.load(self._path, allow_pickle=False) as archive:
                return archive[key]
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"{self._path}: {key} cannot be read ({reason})") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def read_npz(spec: DataSpec) -> Parts:
    """The parts of the archive ``spec.npz``. Raises ``DataError``."""
    path = Path(spec.npz).expanduser()
    return parts_of(lambda: _Archive(path), spec, str(path))
