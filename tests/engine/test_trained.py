"""A network that does not rise above a guess is refused, with what to look at."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compressor.data.dataset import Data
from compressor.data.held import HeldSplit
from compressor.engine.trained import glance, refuse_untrained
from compressor.errors import DataError
from compressor.graph.capture import capture
from compressor.graph.network import Network

NAMES = ("cat", "dog", "hen")


def data_of(answers: list[int], labels: list[int]) -> Data:
    """Images of one pixel that say what a network that passes them on answers."""
    images = torch.nn.functional.one_hot(torch.tensor(answers), 3).float().view(-1, 3, 1, 1)
    split = HeldSplit(images, torch.tensor(labels))
    return Data("pets", "made up", split, split, NAMES, (0.0,) * 3, (1.0,) * 3, lambda: split)


def passing_on() -> Network:
    return capture(nn.Flatten(), (3, 1, 1))


def refused(answers: list[int], labels: list[int]) -> None:
    data = data_of(answers, labels)
    refuse_untrained(glance(passing_on(), data), data)


LABELS = [k % 3 for k in range(300)]


def test_answers_at_chance_are_refused_with_what_to_look_at() -> None:
    with pytest.raises(
        DataError, match=r"pets: .*accuracy is 33.33 % on 300 .*'cat' always: 33.33 %.*--allow-untrained"
    ):
        refused([0] * 300, LABELS)
    with pytest.raises(DataError, match="12 samples are few to tell by"):
        refused([0] * 12, LABELS[:12])
    refused(LABELS, LABELS)


def test_a_majority_that_is_always_answered_is_chance() -> None:
    with pytest.raises(DataError, match=r"90.00 % on 300"):
        refused([0] * 300, [0] * 270 + [1] * 30)


def test_another_order_of_the_classes_is_named() -> None:
    with pytest.raises(DataError, match=r"another order: its output 0 is 'hen'"):
        refused([(label + 1) % 3 for label in LABELS], LABELS)
