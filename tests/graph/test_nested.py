"""Nested values: changed, counted, cut and joined without losing their structure."""

from __future__ import annotations

from typing import NamedTuple

import torch

from compressor.graph.nested import first, joined, map_tensors, rows, samples, tensors


class Pair(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor


A, B = torch.arange(6.0).view(3, 2), torch.arange(3)


def test_every_tensor_is_changed_and_the_structure_stays() -> None:
    changed = map_tensors(lambda tensor: tensor + 1, {"a": A, "rest": (Pair(A, B), [B]), "name": "x"})
    assert changed["name"] == "x"
    assert isinstance(changed["rest"][0], Pair)
    assert all(torch.equal(tensor, B + 1) for tensor in (changed["rest"][0].right, changed["rest"][1][0]))


def test_samples_are_counted_along_the_first_dimension_or_the_entries_of_a_list() -> None:
    assert samples({"a": A, "b": B}) == samples((B, A)) == samples([{"boxes": A}] * 3) == 3
    assert first((B, A)) is B
    assert len(list(tensors({"a": A, "b": [B, B]}))) == 3


def test_rows_taken_apart_and_joined_are_the_batch() -> None:
    batch = {"x": (A, B), "boxes": [{"n": 0}, {"n": 1}, {"n": 2}]}
    parts = [{key: rows(value, cut) for key, value in batch.items()} for cut in (slice(0, 1), slice(1, None))]
    again = joined(parts)
    assert again["boxes"] == batch["boxes"]
    assert all(torch.equal(tensor, whole) for tensor, whole in zip(again["x"], (A, B), strict=True))


def test_rows_follow_an_order_of_indices() -> None:
    order = torch.tensor([2, 0])
    assert torch.equal(rows(Pair(A, B), order).right, torch.tensor([2, 0]))
    assert rows([10, 11, 12], order) == [12, 10]
