"""Segmentation: mean intersection over union over the classes that occur, ignored pixels left out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from compressor.task.segmentation import Segmentation


def maps(classes: Tensor, count: int) -> Tensor:
    """Scores ``(N, K, H, W)`` that name these classes."""
    return F.one_hot(classes, count).movedim(-1, 1).float() * 5


def test_the_metric_is_the_mean_iou_over_batches() -> None:
    answers = torch.tensor([[[0, 0], [1, 1]], [[1, 1], [1, 1]]])
    target = torch.tensor([[[0, 1], [1, 1]], [[1, 1], [0, 255]]])
    meter = Segmentation().meter()
    for one, other in zip(answers.split(1), target.split(1), strict=True):
        meter.update(maps(one, 2), other)
    # class 0: 1 in common of 3; class 1: 4 in common of 6; the last pixel counts nowhere
    assert meter.value() == pytest.approx((1 / 3 + 4 / 6) / 2)


def test_answers_of_another_size_are_resized() -> None:
    target = torch.tensor([[[0, 0, 1, 1]] * 4])
    meter = Segmentation().meter()
    meter.update(maps(torch.tensor([[[0, 1]] * 2]), 2), target)
    assert meter.value() == 1.0
    assert Segmentation().scores(maps(target, 2), target).tolist() == [1.0]
    assert Segmentation().scores(maps(1 - target, 2), target).tolist() == [0.0]
