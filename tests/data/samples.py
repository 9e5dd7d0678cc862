"""Small files in the formats that data come in."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compressor.data.dataset import Data


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx_set(folder: Path, train: int = 40, test: int = 20, side: int = 6, packed: bool = True) -> None:
    """Four IDX files; every pixel of an image of class c is 10·c, plus the image's number modulo 7."""
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, count in (("train", train), ("t10k", test)):
        labels = (np.arange(count) % 4).astype(np.uint8)
        images = np.broadcast_to((10 * labels + np.arange(count) % 7)[:, None, None], (count, side, side)).astype(
            np.uint8
        )
        for name, array in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(array)))
            else:
                (folder / name).write_bytes(idx_bytes(array))


def write_image(path: Path, value: int | tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> None:
    """One plain image, grey for a number and coloured for a triple; ``size`` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if isinstance(value, int) else "RGB", size, value).save(path)


def write_classes(root: Path, names: tuple[str, ...], count: int, size: tuple[int, int] = (8, 8)) -> None:
    """A folder per class; the images of class c have red 20·(c + 1), and green the number of the image."""
    for label, name in enumerate(names):
        for index in range(count):
            write_image(root / name / f"{index:03d}.png", (20 * (label + 1), index, 0), size)


def write_numbered(folder: Path, count: int, first: int = 0, size: tuple[int, int] = (8, 8)) -> None:
    """Plain images whose green is their number."""
    for index in range(first, first + count):
        write_image(folder / f"{index:03d}.png", (50, index, 90), size)


def numbers_of(data: Data) -> list[list[int]]:
    """The green of every image, split by split: its number."""
    splits = (data.train, data.validation, data.open_test())
    return [sorted(split.images[:, 1, 0, 0].tolist()) for split in splits]
