from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from compressor.data.cifar import read_cifar10_split, read_cifar100_split
from compressor.data.parts import MissingFile
from compressor.errors import DataError

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (12, 3, 32, 32), dtype=np.uint8)
LABELS = (np.arange(12) % 10).astype(np.uint8)


def write_binary(path: Path, *columns: np.ndarray, pixels: np.ndarray) -> None:
    head = np.stack(columns, axis=1)
    path.write_bytes(np.concatenate([head, pixels.reshape(len(pixels), -1)], axis=1).astype(np.uint8).tobytes())


def test_binary_and_sheets_give_the_same_images(tmp_path: Path) -> None:
    binary, sheets = tmp_path / "binary", tmp_path / "sheets"
    binary.mkdir()
    sheets.mkdir()
    for index in range(5):
        part = slice(2 * index, 2 * index + 2)
        write_binary(binary / f"data_batch_{index + 1}.bin", LABELS[part], pixels=PIXELS[part])
        sheet = PIXELS[part].transpose(0, 2, 3, 1).reshape(2, 1024, 3)
        Image.fromarray(sheet).save(sheets / f"data_batch_{index + 1}.png")
    (sheets / "train_lables.json").write_text(json.dumps(LABELS[:10].tolist()))
    one, two = read_cifar10_split(binary, "train"), read_cifar10_split(sheets, "train")
    assert np.array_equal(one.images.numpy(), PIXELS[:10])
    assert torch.equal(one.images, two.images)
    assert one.labels.tolist() == two.labels.tolist() == LABELS[:10].tolist()


def test_cifar_100_takes_the_fine_label(tmp_path: Path) -> None:
    write_binary(tmp_path / "test.bin", LABELS, LABELS + 50, pixels=PIXELS)
    assert read_cifar100_split(tmp_path, "test").labels.tolist() == (LABELS + 50).tolist()


def test_missing_and_damaged_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        read_cifar100_split(tmp_path, "test")
    (tmp_path / "test.bin").write_bytes(b"x" * 5000)
    with pytest.raises(DataError, match="no whole number of records"):
        read_cifar100_split(tmp_path, "test")
    (tmp_path / "test_lables.json").write_text("{")
    (tmp_path / "test_batch.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"test_batch\.png is damaged"):
        read_cifar10_split(tmp_path, "test")
    Image.new("RGB", (1024, 2)).save(tmp_path / "test_batch.png")
    with pytest.raises(DataError, match=r"test_lables\.json is damaged"):
        read_cifar10_split(tmp_path, "test")
