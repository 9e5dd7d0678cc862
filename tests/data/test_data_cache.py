from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from compressor.data.cache import cache_folder, read_cached, write_cached

IMAGES = torch.full((20, 1, 4, 4), 7, dtype=torch.uint8)
LABELS = torch.arange(20) % 3
MASKS = (torch.arange(20 * 16).view(20, 4, 4) % 300 - 100).to(torch.int16)


def store(folder: Path) -> bool:
    """In two blocks."""
    tensors = {"images": IMAGES, "labels": LABELS, "masks": MASKS}
    blocks = ({name: tensor[part] for name, tensor in tensors.items()} for part in (slice(13), slice(13, None)))
    return write_cached(folder, "train", 20, blocks, "a place", lambda: {"white": "255"})


def test_what_was_stored_is_read(tmp_path: Path) -> None:
    assert store(tmp_path / "new")
    found = read_cached(tmp_path / "new", "train")
    assert found is not None
    assert found.source == "a place"
    assert found.facts == {"white": "255"}
    assert torch.equal(found.tensors["images"], IMAGES)
    assert torch.equal(found.tensors["labels"], LABELS)
    assert torch.equal(found.tensors["masks"], MASKS)
    assert read_cached(tmp_path / "new", "test") is None
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["train.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "junk"])
def test_a_damaged_file_is_ignored_with_a_warning(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store(tmp_path)
    path = tmp_path / "train.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes({"cut": content[:-9], "flip": content, "empty": b"", "junk": b"x" * 100}[damage])
    assert read_cached(tmp_path, "train") is None
    assert "train.safetensors is damaged" in caplog.text


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert not store(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_folder_without_room_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.data.cache.shutil.disk_usage", lambda folder: SimpleNamespace(free=100))
    assert not store(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    store(tmp_path)
    tensors = load_file(tmp_path / "train.safetensors")
    assert torch.equal(tensors["images"], IMAGES)
    assert torch.equal(tensors["labels"], LABELS)


def test_the_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMPRESSOR_DATA", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("COMPRESSOR_DATA")
    assert "compressor" in str(cache_folder())


WRITER = """
import sys, torch
from pathlib import Path
from compressor.data.cache import write_cached
fill = int(sys.argv[2])
images, labels = torch.full((300, 1, 32, 32), fill, dtype=torch.uint8), torch.full((300,), fill)
for _ in range(15):
    blocks = ({"images": images[:100], "labels": labels[:100]} for _ in range(3))
    write_cached(Path(sys.argv[1]), "train", 300, blocks, str(fill))
"""


def test_readers_see_whole_files_while_processes_write(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(fill)]) for fill in (1, 2)]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        found = read_cached(tmp_path, "train")
        if found is not None:
            fill = int(found.source)
            assert all(bool((tensor == fill).all()) for tensor in found.tensors.values())
            seen.add(fill)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen
    assert "damaged" not in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["train.safetensors"]
