"""Random changes of batches: maps go with their images, and what would leave a target behind is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from compressor.data.open import from_loaders
from compressor.errors import InputError
from compressor.train.augment import augment, augmented
from compressor.train.batches import Batches
from compressor.train.changes import refuse_misleading, transform_of
from compressor.train.spec import Augmentation

RAMP = torch.linspace(0, 1, 16).expand(64, 1, 12, 16) + torch.linspace(0, 2, 12).view(1, 1, 12, 1)


def data_of(inputs: Any, target: Any) -> Any:
    class Samples(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 24

        def __getitem__(self, index: int) -> Any:
            return inputs, target

    return from_loaders(Samples(), check=False)


@pytest.mark.parametrize("spec", [Augmentation(crop=0.2), Augmentation(flip=True), Augmentation(crop=0.5, flip=True)])
def test_a_map_goes_where_its_image_goes(spec: Augmentation) -> None:
    maps = (RAMP[:, 0] * 1000).round().long()
    images, moved = augmented(RAMP, maps, spec, torch.Generator().manual_seed(0))
    assert moved is not None
    assert moved.dtype == torch.int64
    assert not torch.equal(moved, maps)
    assert float((images[:, 0] - moved / 1000).abs().max()) < 0.15  # the nearest pixel against the pixels around
    assert torch.equal(images, augment(RAMP, spec, torch.Generator().manual_seed(0)))


def test_a_crop_keeps_at_least_its_share() -> None:
    images = augment(RAMP, Augmentation(crop=0.25), torch.Generator().manual_seed(0))
    wide, high = images[:, 0, 0, -1] - images[:, 0, 0, 0], (images[:, 0, -1, 0] - images[:, 0, 0, 0]) / 2
    shares = wide * high
    assert 0.15 < float(shares.min()) < 0.4
    assert float(shares.max()) > 0.8
    assert float(images.min()) >= float(RAMP.min())
    assert float(images.max()) <= float(RAMP.max())


IMAGE, MAP, BOXES = torch.rand(3, 8, 8), torch.zeros(8, 8).long(), {"boxes": torch.zeros(2, 4)}


@pytest.mark.parametrize(
    ("inputs", "target", "spec", "complaint"),
    [
        (IMAGE, BOXES, {"flip": True}, r"flip: it would move the image, and its target .* would stay behind"),
        (IMAGE, {"a": 1, "map": MAP}, {"crop": 0.5}, "crop: it would move the image"),
        (IMAGE, MAP, {"shift": 2}, "shift: it uncovers places of which the target"),
        (IMAGE, torch.zeros(5, 5), {"flip": True}, "would stay behind"),
        ((IMAGE, IMAGE), 1, {"cutout": 3}, "cutout: it would change one of several images alone"),
        (torch.rand(2, 50), 1, {"rotate": 5.0}, "rotate: it is for images, and these inputs are"),
        (IMAGE, BOXES, {"noise": 0.1, "cutout": 2}, ""),
        (IMAGE, MAP, {"flip": True, "crop": 0.3, "noise": 0.1}, ""),
        (IMAGE, torch.zeros(4), {"shift": 1}, ""),
        (torch.rand(2, 50), 1, {"noise": 0.1}, ""),
        ((IMAGE, torch.rand(4)), 1, {"flip": True}, ""),
    ],
)
def test_what_would_mislead_is_refused(inputs: Any, target: Any, spec: dict[str, Any], complaint: str) -> None:
    data, augmentation = data_of(inputs, target), Augmentation(**spec)
    if complaint:
        with pytest.raises(InputError, match=complaint) as caught:
            refuse_misleading(data, augmentation)
        assert "\n" not in str(caught.value)
        return
    batch = next(iter(Batches(data, 4, augmentation, 0, torch.device("cpu"))))
    assert len(batch) == 4
    first = batch.inputs if isinstance(batch.inputs, Tensor) else batch.inputs[0]
    assert not all(torch.equal(image, first[0]) for image in first[1:])


MODULE = """
import torch
from torch import nn

def both(inputs, target):
    return inputs + 1, target + 10

class Alone(nn.Module):
    def forward(self, input, params=None):
        return input * 0

class Any(nn.Module):  # as torchvision's
    def forward(self, *inputs):
        return tuple(value * 2 for value in inputs)

alone, any_number = Alone(), Any()

class Container(nn.Module):  # as kornia's
    data_keys = ["input", "mask"]
    def forward(self, *values, params=None, data_keys=None):
        return [value * 3 for value in values]

container = Container()

def lost(inputs, target):
    return inputs

def larger(inputs, target):
    return inputs.repeat(1, 2), target

def failing(inputs, target):
    raise KeyError("here")
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_transforms.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_transforms", raising=False)


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("name", "inputs", "target"),
    [("both", 2.0, 11.0), ("alone", 0.0, 1.0), ("any_number", 2.0, 2.0), ("container", 3.0, 3.0)],
)
def test_a_transform_is_given_what_it_takes(name: str, inputs: float, target: float) -> None:
    found = transform_of(f"my_transforms:{name}")(torch.ones(2, 3), torch.ones(2))
    assert (float(found[0].mean()), float(found[1].mean())) == (inputs, target)
    data = data_of(torch.ones(3), 1)
    batch = next(iter(Batches(data, 4, Augmentation(), 0, torch.device("cpu"), f"my_transforms:{name}")))
    assert (float(batch.inputs.mean()), float(batch.target.float().mean())) == (inputs, target)


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("lost", r"lost returned \(2, 3\) of float32; it must return \(inputs, target\)"),
        ("larger", r"made inputs of \[\(2, 6\)\] from \[\(2, 3\)\]; their shape must stay"),
        ("failing", r"failing failed: KeyError: 'here' \(.*my_transforms\.py, line \d+\)"),
        ("absent", "has no 'absent'"),
    ],
)
def test_a_transform_that_is_wrong_is_told_in_one_line(name: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        transform_of(f"my_transforms:{name}")(torch.ones(2, 3), torch.ones(2))
