from __future__ import annotations

import functools
import hashlib
import http.server
import json
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from compressor.data.cifar import read_cifar10_split, read_cifar100_split
from compressor.data.parts import MissingFile
from compressor.data.sources import OfficialAddress, Unavailable
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
    assert one.targets().tolist() == two.targets().tolist() == LABELS[:10].tolist()


def test_cifar_100_takes_the_fine_label(tmp_path: Path) -> None:
    write_binary(tmp_path / "test.bin", LABELS, LABELS + 50, pixels=PIXELS)
    assert read_cifar100_split(tmp_path, "test").targets().tolist() == (LABELS + 50).tolist()


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


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """A server on this machine with a small archive laid out like the published one, and the archive's MD5."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    inside, served = tmp_path / "cifar-100-binary", tmp_path / "served"
    inside.mkdir()
    served.mkdir()
    for split in ("train", "test"):
        write_binary(inside / f"{split}.bin", LABELS, LABELS + 50, pixels=PIXELS)
    archive = served / "cifar-100-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as content:
        content.add(inside, "cifar-100-binary")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=served)) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", hashlib.md5(archive.read_bytes()).hexdigest()
        server.shutdown()


def test_cifar_100_is_read_from_the_archive_of_its_authors(tmp_path: Path, address: tuple[str, str]) -> None:
    where, md5 = address
    source = OfficialAddress(where, {"cifar-100-binary.tar.gz": md5}, "cifar-100-binary")
    target = tmp_path / "target"
    target.mkdir()
    split = read_cifar100_split(source.provide(target), "train")
    assert np.array_equal(split.images.numpy(), PIXELS)
    assert split.targets().tolist() == (LABELS + 50).tolist()


def test_an_archive_with_another_checksum_is_not_read(tmp_path: Path, address: tuple[str, str]) -> None:
    source = OfficialAddress(address[0], {"cifar-100-binary.tar.gz": "0" * 32}, "cifar-100-binary")
    with pytest.raises(Unavailable, match=r"the checksum of cifar-100-binary\.tar\.gz is not the published one"):
        source.provide(tmp_path)
