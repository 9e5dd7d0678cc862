"""Where images end up: in a file that all processes map, or in memory within a stated budget."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from samples import write_classes

from compressor.data.geometry import Geometry
from compressor.data.held import HeldSplit
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.errors import DataError


def full(folder: object) -> SimpleNamespace:
    return SimpleNamespace(free=0)


def test_splits_of_one_folder_share_one_mapped_file(tmp_path: Path, cache: Path) -> None:
    write_classes(tmp_path / "set", ("a", "b"), 10)
    spec = DataSpec(folder=str(tmp_path / "set"))
    data = load_data(spec)
    assert data.train.store is data.validation.store
    assert data.train.touched is not None
    assert len(list((cache / "sets").iterdir())) == 2  # training and validation images, test images
    load_data(DataSpec(folder=str(tmp_path / "set"), seed=7))  # another validation split of the same images
    assert len(list((cache / "sets").iterdir())) == 2


def test_a_full_disk_means_memory_and_a_small_budget_streaming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_classes(tmp_path / "set", ("a", "b"), 40, size=(150, 150))
    spec = DataSpec(folder=str(tmp_path / "set"))
    mapped = load_data(spec)
    monkeypatch.setenv("COMPRESSOR_DATA", str(tmp_path / "elsewhere"))
    monkeypatch.setattr("compressor.data.cache.shutil.disk_usage", full)
    held = load_data(spec)
    assert held.train.touched is None
    assert torch.equal(held.train.images, mapped.train.images)
    streamed = load_data(DataSpec(folder=str(tmp_path / "set"), memory=1))
    assert not streamed.train.held
    assert torch.equal(streamed.train.images, mapped.train.images)
    assert torch.equal(streamed.train.targets(), mapped.train.targets())
    np.savez(tmp_path / "a.npz", x=np.zeros((80, 150, 150, 3), np.uint8), y=np.arange(80) % 2)
    with pytest.raises(DataError, match=r"more than data\.memory allows .* data\.limit"):
        load_data(DataSpec(npz=str(tmp_path / "a.npz"), memory=1))


def test_samples_of_samples_are_what_copies_would_be() -> None:
    images = torch.arange(40, dtype=torch.uint8).view(10, 1, 2, 2)
    split = HeldSplit(images, torch.arange(10))
    part = split.take(torch.tensor([7, 2, 9])).take(torch.tensor([2, 0]))
    assert torch.equal(part.images, images[[9, 7]])
    assert part.targets().tolist() == [9, 7]
    assert torch.equal(part.read(torch.tensor([1])), images[[7]])
    assert torch.equal(torch.cat([batch for batch, _ in split.take(torch.arange(5)).batches(2)]), images[:5])
    for other in (split.take(torch.tensor([0])), HeldSplit(images[:1].clone(), torch.tensor([0]))):
        assert torch.equal(part.joined(other).images, images[[9, 7, 0]])
        assert part.joined(other).targets().tolist() == [9, 7, 0]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resize_and_crop_keep_proportions_and_the_middle(interpolation: str) -> None:
    ramp = np.tile(np.linspace(0, 255, 88).astype(np.uint8), (60, 1))
    geometry = Geometry(0, 30, 20, interpolation)  # type: ignore[arg-type]
    one = np.asarray(geometry.of_image(Image.fromarray(ramp)))
    two = geometry.of_tensor(torch.from_numpy(ramp)[None, None])[0, 0].numpy()
    assert one.shape == two.shape == (20, 20)
    assert np.abs(one.astype(int) - two).max() <= 1
    assert np.abs(two.mean() - ramp.mean()) < 1
    assert geometry.of_tensor(torch.zeros(1, 3, 40, 60)).shape == (1, 3, 20, 20)


def test_what_is_too_small_to_crop_is_refused(tmp_path: Path) -> None:
    write_classes(tmp_path, ("a", "b"), 10)
    with pytest.raises(DataError, match=r"\d\.png: .*smaller than data\.crop = 9"):
        load_data(DataSpec(folder=str(tmp_path), crop=9))
