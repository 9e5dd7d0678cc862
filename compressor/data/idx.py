"""IDX files, the format of MNIST and Fashion-MNIST: a big-endian header, then bytes (http://yann.lecun.com/exdb/mnist)."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import torch
from numpy.typing import NDArray

from compressor.data.held import HeldSplit
from compressor.data.parts import MissingFile
from compressor.errors import DataError

IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_LARGEST = 4 << 30


def find_idx(folder: Path, name: str) -> Path | None:
    """The IDX file called ``name`` in ``folder``, plain or gzipped."""
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)


def read_idx_split(folder: Path, split: str, digests: tuple[str, ...] = ()) -> HeldSplit:
    """``train`` or ``test`` from the four files of a folder.

    ``digests`` are the SHA-256 of the unpacked image and label file, where they are known.
    Raises ``DataError`` for a missing, damaged or altered file.
    """
    arrays = []
    for index, name in enumerate(IDX_FILES[split]):
        path = find_idx(folder, name)
        if path is None:
            raise MissingFile(f"{folder}: {name}[.gz] is missing")
        arrays.append(read_idx(path, digests[index] if digests else ""))
    images, labels = arrays
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise DataError(
            f"{folder}: the {split} files do not belong together: {images.shape} images, {labels.shape} labels"
        )
    return HeldSplit(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels).long())


def read_idx(path: Path, digest: str = "") -> NDArray[np.uint8]:
    """The array of one IDX file of bytes, plain or gzipped. Raises ``DataError`` for a damaged one."""
    try:
        with cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb") as stream:
            header, shape = _read_header(stream, path)
            size = int(np.prod(shape, dtype=np.int64))
            payload = stream.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged or unreadable ({error}); delete it and fetch it again") from None
    if len(payload) != size:
        held = "more" if len(payload) > size else f"only {len(payload)}"
        raise DataError(
            f"{path} is damaged: its header announces {size} bytes, it holds {held}; delete it and fetch it again"
        )
    if digest and hashlib.sha256(header + payload).hexdigest() != digest:
        raise DataError(
            f"{path} is damaged or altered: its checksum is not the published one; delete it and fetch it again"
        )
    return np.frombuffer(bytearray(payload), dtype=np.uint8).reshape(shape)


def _read_header(stream: BinaryIO, path: Path) -> tuple[bytes, tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) != 4 or magic[:3] != b"\x00\x00\x08" or not 1 <= magic[3] <= 4:
        raise DataError(f"{path} is no IDX file of bytes: it begins with {magic.hex() or 'nothing'}")
    sizes = stream.read(4 * magic[3])
    if len(sizes) != 4 * magic[3]:
        raise DataError(f"{path} is damaged: its header is cut off; delete it and fetch it again")
    shape = struct.unpack(f">{magic[3]}I", sizes)
    if int(np.prod([float(side) for side in shape])) > _LARGEST:
        raise DataError(f"{path} is damaged: its header announces an array of {shape}")
    return magic + sizes, shape
