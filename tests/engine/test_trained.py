"""Chance, and a network that does not rise above it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.data.dataset import Data
from compressor.data.held import HeldSplit
from compressor.engine.chance import Chance, chance_of, evidently_better
from compressor.engine.trained import Glance, refuse_untrained, relabelling
from compressor.errors import DataError


def data_of(labels: torch.Tensor) -> Data:
    split = HeldSplit(torch.zeros(len(labels), 1, 1, 1), labels)
    return Data("pets", "made up", split, split, ("cat", "dog", "hen"), (0.0,), (1.0,), lambda: split)


def glance_of(answers: list[int], labels: list[int]) -> Glance:
    return Glance(torch.tensor(answers), torch.tensor(labels))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=300))
def test_chance_is_the_most_frequent_class(labels: list[int]) -> None:
    chance = chance_of(torch.tensor(labels))
    assert math.isclose(chance.share, max(labels.count(k) for k in range(5)) / len(labels), rel_tol=1e-6)
    assert chance.holds(chance.share)
    assert chance.limit <= 1.0


def test_few_samples_make_chance_wide() -> None:
    few, many = Chance(0.1, 0, 10), Chance(0.1, 0, 6000)
    assert few.holds(0.28)
    assert not many.holds(0.16)
    assert many.holds(0.14), "untrained networks reach that on Fashion-MNIST"


def test_evidently_better_counts_the_samples_that_differ() -> None:
    right = torch.ones(100, dtype=torch.bool)
    slightly = right.clone()
    slightly[:5] = False
    clearly = right.clone()
    clearly[:12] = False
    assert not evidently_better(right, slightly)
    assert evidently_better(right, clearly)
    assert not evidently_better(clearly, right)
    assert not evidently_better(right, right)


def test_answers_at_chance_are_refused_with_what_to_look_at() -> None:
    labels = [k % 3 for k in range(300)]
    with pytest.raises(DataError, match=r"pets: .* 33.3 % of 300 .*'cat' always: 33.3 %.*--allow-untrained"):
        refuse_untrained(glance_of([0] * 300, labels), data_of(torch.tensor(labels)))
    with pytest.raises(DataError, match="12 images are few to tell by"):
        refuse_untrained(glance_of([0] * 12, labels[:12]), data_of(torch.tensor(labels)))
    refuse_untrained(glance_of(labels, labels), data_of(torch.tensor(labels)))


def test_a_majority_that_is_always_answered_is_chance() -> None:
    labels = [0] * 270 + [1] * 30
    with pytest.raises(DataError, match=r"90.0 % of 300"):
        refuse_untrained(glance_of([0] * 300, labels), data_of(torch.tensor(labels)))


def test_another_order_of_the_classes_is_named() -> None:
    labels = [k % 3 for k in range(300)]
    turned = [(label + 1) % 3 for label in labels]
    assert relabelling(glance_of(turned, labels)) == {0: 2, 1: 0, 2: 1}
    with pytest.raises(DataError, match=r"another order: its output 0 is 'hen'"):
        refuse_untrained(glance_of(turned, labels), data_of(torch.tensor(labels)))
    swapped = [{1: 2, 2: 1}.get(label, label) for label in labels]
    assert relabelling(glance_of(swapped, labels)) == {0: 0, 1: 2, 2: 1}
    mistaken = [0 if k % 4 == 0 else label for k, label in enumerate(labels)]
    assert relabelling(glance_of(mistaken, labels)) is None
