"""Archives made with ill will, or by accident: one line each, and nothing large is made of them."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import format as npy

from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.errors import DataError


def stored(shape: tuple[int, ...], content: bytes, descr: str = "|u1", *, fortran: bool = False) -> bytes:
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"descr": descr, "fortran_order": fortran, "shape": shape})
    return file.getvalue() + content


def header(text: str) -> bytes:
    body = text.encode()
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body


def archive(path: Path, *, packed: bool = False, **members: bytes) -> DataSpec:
    plain = {
        "x_train": stored((6, 2, 2), bytes(range(24))),
        "y_train": stored((6,), bytes([0, 1] * 3)),
        "x_test": stored((4, 2, 2), bytes(range(100, 116))),
        "y_test": stored((4,), bytes([0, 1] * 2)),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as file:
        for name, content in (plain | members).items():
            file.writestr(f"{name}.npy", content)
    return DataSpec(npz=str(path), validation=2)


def test_the_archive_is_sound_without_them(tmp_path: Path) -> None:
    assert len(load_data(archive(tmp_path / "a.npz")).train) == 4


ODD = {
    "more than it holds": stored((10**9, 1000, 1000), b"abc"),
    "less than it holds": stored((6, 1, 1), bytes(24)),
    "beyond every number": stored((2**62, 2**62, 4), b"abc"),
    "a negative side": header("{'descr': '|u1', 'fortran_order': False, 'shape': (6, -2, 2), }\n") + bytes(24),
    "a side that is true": header("{'descr': '|u1', 'fortran_order': False, 'shape': (6, True, 4), }\n") + bytes(24),
    "objects": stored((6, 2, 2), bytes(24 * 8), "|O"),
    "no header": b"\x93NUMPY",
    "nested deep": header("(" * 5000 + ")" * 5000) + bytes(24),
    "long header": header(" " * 60000) + bytes(24),
    "another version": b"\x93NUMPY\x09\x00" + bytes(24),
    "text": stored((6, 2, 2), bytes(24 * 4), "<U1"),
    "no bytes at all": stored((6, 2, 2), b"", "|V0"),
    "no number of samples": stored((), b"\1"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("key", ["x_train", "x_test", "y_train", "y_test"])
@pytest.mark.parametrize("what", ODD)
def test_an_odd_array_is_told_in_one_line(tmp_path: Path, what: str, key: str) -> None:
    spec = archive(tmp_path / "a.npz", **{key: ODD[what]})
    with pytest.raises(DataError, match=r"a\.npz") as caught:
        load_data(spec)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_bomb_is_not_unfolded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.data.npz._LARGE", 1 << 20)
    spec = archive(tmp_path / "a.npz", packed=True, x_train=stored((8, 1024, 1024), bytes(8 << 20)))
    with pytest.raises(DataError, match="bytes unfold to"):
        load_data(spec)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        (np.array([0, 1, 2**62, 0, 1, 0]), "4611686018427387904 is no class index"),
        (np.array([0, 1, 2**64 - 1, 0, 1, 0], dtype=np.uint64), "18446744073709551615 is no class index"),
        (np.array([1, 2, 3, 1, 2, 3]), "class 0 is empty; .*: subtract one"),
        (np.array([0.0, 1.0, 2.0, 0.0, 1.0, 2.0]), r"y\.astype\(int\)"),
        (np.eye(3)[[0, 1, 2, 0, 1, 2]], r"one-hot; give their argmax\(axis=1\)"),
        (np.array(["a", "b"] * 3), "they are text; number the classes"),
        (np.array([-1, 0, 1, -1, 0, 1]), "leave out samples of unknown class"),
    ],
)
def test_labels_that_are_none_are_told_what_to_become(tmp_path: Path, labels: object, complaint: str) -> None:
    images = np.arange(24, dtype=np.uint8).reshape(6, 2, 2)
    np.savez(tmp_path / "a.npz", x_train=images, y_train=labels, x_test=images, y_test=np.array([0, 1] * 3))
    with pytest.raises(DataError, match=complaint):
        load_data(DataSpec(npz=str(tmp_path / "a.npz")))


NO_FILES: dict[str, Callable[[Path], object]] = {
    "a pipe": lambda path: os.mkfifo(path),
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": lambda path: path.mkdir(),
    "nothing": lambda path: None,
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("what", NO_FILES)
def test_what_is_no_file_is_told_soon(tmp_path: Path, what: str) -> None:
    NO_FILES[what](tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"a\.npz: (is |no such file)"):
        load_data(DataSpec(npz=str(tmp_path / "a.npz")))


def test_arrays_in_fortran_order_are_read_as_they_are_meant(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 5, 4), dtype=np.uint8)
    labels = np.arange(20) % 2
    np.savez(
        tmp_path / "f.npz", x_train=np.asfortranarray(images), y_train=labels, x_test=images[:5], y_test=labels[:5]
    )
    data = load_data(DataSpec(npz=str(tmp_path / "f.npz"), validation=2))
    assert {bytes(image.numpy().tobytes()) for image in data.train.images} <= {image.tobytes() for image in images}


def test_images_are_read_in_blocks_and_only_those_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.data.blocks.BLOCK", 100)
    images = np.random.default_rng(0).integers(0, 256, (50, 5, 4), dtype=np.uint8)
    np.savez_compressed(tmp_path / "a.npz", x=images, y=np.arange(50) % 2)
    data = load_data(DataSpec(npz=str(tmp_path / "a.npz"), limit=10, validation=4, test=6))
    found = [*data.train.images, *data.validation.images, *data.open_test().images]
    assert len(found) == 20
    assert {bytes(image.numpy().tobytes()) for image in found} <= {image.tobytes() for image in images}
