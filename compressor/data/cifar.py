"""CIFAR-10 and CIFAR-100: the authors' binary files, or six sheets of images with their labels beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from compressor.data.held import HeldSplit
from compressor.data.parts import MissingFile
from compressor.errors import DataError

_PIXELS = 3 * 32 * 32
_BINARY_10 = {"train": tuple(f"data_batch_{index}.bin" for index in range(1, 6)), "test": ("test_batch.bin",)}
_SHEETS_10 = {"train": tuple(f"data_batch_{index}.png" for index in range(1, 6)), "test": ("test_batch.png",)}
_SHEET_LABELS = {"train": "train_lables.json", "test": "test_lables.json"}
_BINARY_100 = {"train": ("train.bin",), "test": ("test.bin",)}


def read_cifar10_split(folder: Path, split: str) -> HeldSplit:
    """From ``data_batch_*.bin`` or, where those are missing, ``data_batch_*.png``. Raises ``DataError``."""
    if (folder / _BINARY_10[split][0]).is_file():
        return _read_binary([folder / name for name in _BINARY_10[split]], label_bytes=1)
    return _read_sheets([folder / name for name in _SHEETS_10[split]], folder / _SHEET_LABELS[split])


def read_cifar100_split(folder: Path, split: str) -> HeldSplit:
    """From ``train.bin`` or ``test.bin``, with the fine labels. Raises ``DataError``."""
    return _read_binary([folder / name for name in _BINARY_100[split]], label_bytes=2)


def _read_binary(paths: list[Path], label_bytes: int) -> HeldSplit:
    """Records of ``label_bytes`` labels (the last one counts) and 3×32×32 pixels, channels first."""
    parts: list[NDArray[np.uint8]] = []
    for path in paths:
        if not path.is_file():
            raise MissingFile(f"{path} is missing")
        content = np.fromfile(path, dtype=np.uint8)
        if len(content) == 0 or len(content) % (label_bytes + _PIXELS):
            raise DataError(
                f"{path} is damaged: {len(content)} bytes are no whole number of records; delete it and fetch it again"
            )
        parts.append(content.reshape(-1, label_bytes + _PIXELS))
    records = np.concatenate(parts)
    images = np.ascontiguousarray(records[:, label_bytes:]).reshape(-1, 3, 32, 32)
    return HeldSplit(torch.from_numpy(images), torch.from_numpy(records[:, label_bytes - 1].astype(np.int64)))


def _read_sheets(paths: list[Path], labels: Path) -> HeldSplit:
    """Sheets with one image per row, its 32×32 RGB pixels in a line; labels as a JSON list."""
    missing = next((path for path in (*paths, labels) if not path.is_file()), None)
    if missing is not None:
        raise MissingFile(f"{missing} is missing")
    images = np.concatenate([_read_sheet(path) for path in paths])
    try:
        classes = np.array(json.loads(labels.read_bytes()), dtype=np.int64)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise DataError(f"{labels} is damaged: it holds no list of labels; delete it and fetch it again") from None
    return HeldSplit(torch.from_numpy(images), torch.from_numpy(classes))


def _read_sheet(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path, formats=("PNG",)) as sheet:
            if sheet.width != 32 * 32 or sheet.height > 50_000:
                raise DataError(f"{path} is no sheet of 32×32 images: it is {sheet.width}×{sheet.height}")
            pixels = np.asarray(sheet.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it and fetch it again") from None
    return np.ascontiguousarray(pixels.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2))
