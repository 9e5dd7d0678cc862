from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from samples import idx_bytes, write_idx_set

from compressor.data.idx import read_idx, read_idx_split
from compressor.data.parts import MissingFile
from compressor.errors import DataError

ARRAY = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("name", ["plain", "packed.gz"])
def test_what_was_written_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    content = idx_bytes(ARRAY)
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert np.array_equal(read_idx(path, hashlib.sha256(content).hexdigest()), ARRAY)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "no IDX file"),
        (b"\x89PNG....", "no IDX file"),
        (idx_bytes(ARRAY)[:10], "header is cut off"),
        (idx_bytes(ARRAY)[:-1], "announces 24 bytes, it holds only 23"),
        (idx_bytes(ARRAY) + b"x", "announces 24 bytes, it holds more"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "announces an array of"),
        (idx_bytes(ARRAY)[:-1] + b"\x99", "checksum"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "some-idx"
    path.write_bytes(content)
    with pytest.raises(DataError, match=complaint) as caught:
        read_idx(path, hashlib.sha256(idx_bytes(ARRAY)).hexdigest())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "flip", "junk"])
def test_a_damaged_gzip_is_named(tmp_path: Path, damage: str) -> None:
    packed = bytearray(gzip.compress(idx_bytes(np.random.default_rng(0).integers(0, 255, (9, 9, 9), dtype=np.uint8))))
    if damage == "flip":
        packed[len(packed) // 2] ^= 0xFF
    path = tmp_path / "images.gz"
    path.write_bytes({"cut": packed[:-40], "flip": packed, "junk": b"not gzip"}[damage])
    with pytest.raises(DataError, match=r"images\.gz is damaged"):
        read_idx(path)


def test_a_split_is_read_on_its_own(tmp_path: Path) -> None:
    write_idx_set(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(b"not read")
    train = read_idx_split(tmp_path, "train")
    assert train.images.shape == (40, 1, 6, 6)
    assert train.targets()[:5].tolist() == [0, 1, 2, 3, 0]
    with pytest.raises(DataError, match="damaged"):
        read_idx_split(tmp_path, "test")
    (tmp_path / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(MissingFile, match="t10k-images"):
        read_idx_split(tmp_path, "test")
