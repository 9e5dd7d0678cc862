"""Classification: its losses, and answers in another order."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from compressor.task.classification import Classification, focal, relabelling
from compressor.train.spec import TrainingSpec


def drawn(seed: int, scale: float, count: int = 6, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(count, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes, (count,), generator=generator)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 50), st.floats(0, 0.9))
def test_focal_loss_with_gamma_0_is_cross_entropy(seed: int, scale: float, smoothing: float) -> None:
    logits, labels = drawn(seed, scale)
    expected = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    assert torch.allclose(focal(logits, labels, gamma=0.0, smoothing=smoothing), expected)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 5), st.floats(0, 4))
def test_focal_loss_is_its_definition(seed: int, scale: float, gamma: float) -> None:
    logits, labels = drawn(seed, scale)
    true = logits.softmax(1)[torch.arange(len(labels)), labels]
    expected = ((1 - true) ** gamma * -true.log()).sum() / len(labels)
    assert torch.allclose(focal(logits, labels, gamma=gamma), expected, rtol=1e-6, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 2), st.floats(0, 2))
def test_more_gamma_never_means_more_loss(seed: int, gamma: float, more: float) -> None:
    logits, labels = drawn(seed, 2.0)
    assert float(focal(logits, labels, gamma=gamma + more)) <= float(focal(logits, labels, gamma=gamma)) + 1e-12


@pytest.mark.parametrize("gamma", [0.3, 0.5, 2.0])
def test_focal_gradients_stay_finite_for_certain_answers(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0], [-200.0, 0.0]], requires_grad=True)
    focal(logits, torch.tensor([0, 0]), gamma=gamma).backward()
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def test_the_spec_names_the_loss() -> None:
    logits, labels = drawn(0, 1.0)
    task = Classification()
    plain = task.training_loss(TrainingSpec())(logits, labels)
    assert torch.equal(plain, F.cross_entropy(logits, labels))
    smooth = task.training_loss(TrainingSpec(label_smoothing=0.2))(logits, labels)
    assert torch.equal(smooth, F.cross_entropy(logits, labels, label_smoothing=0.2))
    named = task.training_loss(TrainingSpec(loss="focal", focal_gamma=1.5))(logits, labels)
    assert torch.equal(named, focal(logits, labels, gamma=1.5))


def test_another_order_of_the_classes_is_found() -> None:
    labels = torch.arange(300) % 3
    assert relabelling((labels + 1) % 3, labels) == {0: 2, 1: 0, 2: 1}
    swapped = torch.tensor([0, 2, 1])[labels]
    assert relabelling(swapped, labels) == {0: 0, 1: 2, 2: 1}
    mistaken = torch.where(torch.arange(300) % 4 == 0, 0, labels)
    assert relabelling(mistaken, labels) is None
