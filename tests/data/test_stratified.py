from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.data.stratify import sample_count, stratified

label_lists = st.lists(st.integers(0, 6), min_size=1, max_size=200)


@settings(max_examples=60, deadline=None)
@given(label_lists, st.floats(0, 1), st.integers(0, 5))
def test_rest_and_drawn_partition_the_samples_and_keep_every_share(values: list[int], share: float, seed: int) -> None:
    labels = torch.tensor(values)
    count = round(share * len(values))
    rest, drawn = stratified(labels, count, seed)
    assert len(drawn) == count
    assert sorted(rest.tolist() + drawn.tolist()) == list(range(len(values)))
    assert rest.tolist() == sorted(rest.tolist())
    for label in set(values):
        exact = values.count(label) * count / len(values)
        assert abs(int((labels[drawn] == label).sum()) - exact) < 1


def test_a_seed_fixes_the_split_and_another_seed_changes_it() -> None:
    labels = torch.arange(300) % 3
    assert torch.equal(stratified(labels, 60, 1)[1], stratified(labels, 60, 1)[1])
    assert not torch.equal(stratified(labels, 60, 1)[1], stratified(labels, 60, 2)[1])


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    stratified(torch.arange(30) % 3, 10, 0)
    assert torch.equal(before, torch.get_rng_state())


def test_more_than_there_are_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="cannot draw 4 of 3"):
        stratified(torch.zeros(3, dtype=torch.int64), 4, 0)


def test_a_share_is_turned_into_at_least_one_sample() -> None:
    assert sample_count(0.1, 50) == 5
    assert sample_count(0.001, 50) == 1
    assert sample_count(7, 50) == 7
