from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.data.dataset import Data, Split
from compressor.data.geometry import Geometry
from compressor.data.held import HeldSplit
from compressor.data.load import load_data
from compressor.data.scale import unit_scale
from compressor.data.spec import DataSpec
from compressor.data.statistics import channel_statistics
from compressor.errors import DataError
from compressor.task import TaskSpec, make_task
from compressor.task.agreement import Agreement


def digits(**fields: object) -> Data:
    return load_data(DataSpec(name="digits", **fields))  # type: ignore[arg-type]


def split_of(images: torch.Tensor) -> Split:
    return HeldSplit(images, torch.zeros(len(images), dtype=torch.int64))


def test_the_training_split_is_normalised_to_mean_0_and_deviation_1() -> None:
    data = digits()
    values = data.normalised(data.train.images)
    assert values.dtype == torch.float32
    assert abs(float(values.mean())) < 1e-4
    assert abs(float(values.std()) - 1) < 1e-3
    assert data.train.images.dtype == torch.uint8


def test_statistics_come_from_the_training_split_alone() -> None:
    data = digits(validation=200, limit=100)
    mean, std = channel_statistics(data.train)
    assert data.mean == mean
    assert data.std == std
    assert data.mean != channel_statistics(data.validation)[0]


def test_normalisation_can_be_given_or_left_out() -> None:
    given_ = digits(mean=(0.5,), std=(0.25,))
    images = given_.train.images[:3]
    assert torch.allclose(given_.normalised(images), (images.float() / 255 - 0.5) / 0.25)
    assert torch.allclose(digits(normalise="none").normalised(images), images.float() / 255)
    with pytest.raises(DataError, match="2 values for images of 1 channels"):
        digits(mean=(0.5, 0.5), std=(1.0, 1.0))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 40), st.booleans(), st.integers(0, 1000))
def test_statistics_agree_with_the_definition(channels: int, count: int, whole: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, channels, 5, 3, generator=generator)
    images = (images * 255).to(torch.uint8) if whole else images
    mean, std = channel_statistics(split_of(images))
    values = unit_scale(images).double().transpose(0, 1).flatten(1)
    assert torch.allclose(torch.tensor(mean, dtype=torch.float64), values.mean(1), atol=1e-6)
    assert torch.allclose(torch.tensor(std, dtype=torch.float64), values.std(1, unbiased=False), atol=1e-6)


def test_a_constant_channel_does_not_divide_by_zero() -> None:
    assert channel_statistics(split_of(torch.full((4, 1, 2, 2), 9, dtype=torch.uint8)))[1] == (1.0,)


def test_the_seed_draws_validation_and_nothing_else() -> None:
    one, same, other = digits(seed=1), digits(seed=1), digits()
    assert torch.equal(one.validation.images, same.validation.images)
    assert not torch.equal(one.validation.images, other.validation.images)
    assert torch.equal(one.open_test().images, other.open_test().images)


def test_a_limit_keeps_all_classes_and_leaves_validation_alone() -> None:
    data = digits(limit=100)
    assert len(data.train) == 100
    assert torch.bincount(data.train.targets(), minlength=10).min() >= 9
    assert len(data.validation) == 150


def test_a_size_resizes_every_split() -> None:
    data = digits(size=12)
    assert data.input_shape == (1, 12, 12)
    assert data.validation.images.shape[2:] == data.open_test().images.shape[2:] == (12, 12)
    assert data.train.images.dtype == torch.uint8


def test_resizing_keeps_plain_images_plain_and_floats_floats() -> None:
    plain = torch.full((3, 2, 9, 7), 200, dtype=torch.uint8)
    assert bool((Geometry(4).of_tensor(plain) == 200).all())
    assert Geometry().of_tensor(plain) is plain
    assert Geometry(3).of_tensor(torch.rand(2, 1, 5, 5)).dtype == torch.float32


def test_calibration_batches_are_training_samples_always_the_same() -> None:
    data = digits()
    batches = data.calibration_batches(300, batch=128)
    again = data.calibration_batches(300, batch=128)
    assert [len(labels) for _, labels in batches] == [128, 128, 44]
    assert all(torch.equal(a[0], b[0]) for a, b in zip(batches, again, strict=True))
    train = {bytes(image.numpy().tobytes()) for image in data.normalised(data.train.images)}
    assert all(bytes(image.numpy().tobytes()) in train for image in batches[0][0])
    assert sum(len(labels) for _, labels in data.calibration_batches(10**6)) == len(data.train)


def test_validation_cannot_take_everything() -> None:
    with pytest.raises(DataError, match="leaves nothing of 1500"):
        digits(validation=1500)


@pytest.mark.parametrize(
    ("images", "labels", "complaint"),
    [
        (torch.zeros(()), torch.zeros(2, dtype=torch.int64), "images must be"),
        (torch.zeros(2, 1, 3, 3, dtype=torch.float64), torch.zeros(2, dtype=torch.int64), "images must be"),
        (torch.zeros(2, 1, 3, 3), {"a": torch.zeros(2), "b": torch.zeros(3)}, "parts of 2 and 3 samples"),
        ((torch.zeros(2, 1, 3, 3), torch.zeros(3)), None, "parts of 2 and 3 samples"),
        (torch.zeros(2, 1, 3, 3), torch.zeros(3, dtype=torch.int64), "2 images but 3 labels"),
    ],
)
def test_a_split_refuses_what_is_none(images: Any, labels: Any, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        HeldSplit(images, labels)


def test_normalising_leaves_its_argument_alone() -> None:
    data = digits(normalise="none")
    images = torch.rand(2, 1, 8, 8)
    before = images.clone()
    data.normalised(images)
    assert torch.equal(images, before)


def test_the_task_says_what_whole_numbers_are(tmp_path: Path) -> None:
    ages = np.arange(40) % 9 - 4
    np.savez(tmp_path / "a.npz", x=np.random.default_rng(0).random((40, 1, 4, 4)), y=ages)
    spec = DataSpec(npz=str(tmp_path / "a.npz"))
    with pytest.raises(DataError, match=r'must not be negative.*data\.targets = "numbers"'):
        load_data(spec)
    data = load_data(spec, make_task(TaskSpec("regression")))
    assert data.train.targets().dtype == torch.float32
    assert data.classes == ()
    assert load_data(spec, Agreement()).train.targets() is None
