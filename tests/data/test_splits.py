"""What every kind of split promises, held against plain tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from compressor.data.held import HeldSplit
from compressor.data.labels import class_indices
from compressor.data.live import as_live
from compressor.data.split import JoinedSplit, Split, TakenSplit
from compressor.errors import DataError
from compressor.graph import nested

COUNT = 11
LEFT = torch.arange(COUNT * 12, dtype=torch.float32).view(COUNT, 3, 4)
RIGHT = torch.arange(COUNT, dtype=torch.uint8).view(COUNT, 1)
TARGET = {"class": torch.arange(COUNT) % 3, "map": torch.arange(COUNT * 4).view(COUNT, 2, 2).float()}
BOXES = [{"boxes": torch.full((index % 3, 4), float(index))} for index in range(COUNT)]


class Plain(Dataset[Any]):
    def __init__(self, target: Any = TARGET) -> None:
        self.target = target

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Any:
        target = self.target[index] if isinstance(self.target, list) else None
        if isinstance(self.target, dict):
            target = {key: value[index] for key, value in self.target.items()}
        return (LEFT[index], RIGHT[index]), target


class Flowing(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([Plain()[index] for index in range(COUNT)])


HELD = HeldSplit((LEFT, RIGHT), TARGET)
BACK = torch.arange(COUNT - 1, -1, -1)
INDEXED: dict[str, Callable[[], Split]] = {
    "held": lambda: HELD,
    "held, by rows": lambda: HeldSplit(
        (LEFT.flip(0), RIGHT.flip(0)), nested.map_tensors(lambda t: t.flip(0), TARGET), BACK
    ),
    "joined": lambda: JoinedSplit((HELD.first(4), as_live(Plain(), "here").take(torch.arange(4, COUNT)))),
    "taken": lambda: TakenSplit(HELD.take(BACK), BACK),
    "a dataset": lambda: as_live(Plain(), "here"),
    "a dataset with workers": lambda: as_live(Plain(), "here", workers=2),
    "a loader": lambda: as_live(DataLoader(Plain(), batch_size=4, shuffle=True), "here"),
}
PASSES: dict[str, Callable[[], Split]] = {
    "a loader with a sampler": lambda: as_live(DataLoader(Plain(), 4, sampler=list(range(COUNT))), "here"),
    "an iterable dataset": lambda: as_live(Flowing(), "here"),
    "a loader of one": lambda: as_live(DataLoader(Flowing(), batch_size=4), "here"),
    "a list of batches": lambda: as_live([((LEFT, RIGHT), TARGET)], "here"),
    "a function": lambda: as_live(lambda: iter([HELD.fetch(torch.arange(6)), HELD.fetch(torch.arange(6, COUNT))]), "h"),
}


def same(one: Any, other: Any) -> bool:
    leaves = list(nested.tensors(one)), list(nested.tensors(other))
    return len(leaves[0]) == len(leaves[1]) and all(map(torch.equal, *leaves))


def whole(split: Split, size: int, **options: Any) -> Any:
    return nested.joined(list(split.batches(size, **options)))


@pytest.mark.parametrize("kind", {**INDEXED, **PASSES})
def test_batches_are_the_samples_in_order(kind: str) -> None:
    split = {**INDEXED, **PASSES}[kind]()
    assert len(split) == COUNT
    assert split.shapes == ((3, 4), (1,))
    assert split.dtypes == (torch.float32, torch.uint8)
    assert split.nbytes == COUNT * (12 * 4 + 1)
    for _ in range(2):
        inputs, target = whole(split, 4)
        assert same(inputs, (LEFT, RIGHT))
        assert same(target, TARGET)
    assert same(whole(split.first(5), 4), HELD.fetch(torch.arange(5)))
    assert len(split.first(5)) == 5
    assert same(whole(split.first(99), 4), ((LEFT, RIGHT), TARGET))
    assert len(split.some(99)) == COUNT


def test_a_split_is_shown_by_its_size_and_shapes() -> None:
    """Never by its values: a notebook would print them all."""
    assert repr(HELD) == "HeldSplit(11 samples of (3, 4) and (1,))"


@pytest.mark.parametrize("kind", INDEXED)
def test_samples_can_be_chosen(kind: str) -> None:
    split = INDEXED[kind]()
    rows = torch.tensor([7, 0, 3, 9])
    assert same(split.fetch(rows), ((LEFT[rows], RIGHT[rows]), nested.rows(TARGET, rows)))
    assert same(split.read(rows), (LEFT[rows], RIGHT[rows]))
    assert same(split.targets(rows), nested.rows(TARGET, rows))
    assert same(split.targets(), TARGET)
    assert same(whole(split, 3, order=rows), split.fetch(rows))
    assert same(whole(split.take(rows).take(torch.tensor([2, 1])), 1), split.fetch(torch.tensor([3, 0])))
    assert same(whole(split.take(rows).joined(split.take(rows)), 3), split.fetch(rows.repeat(2)))
    some = split.some(6, seed=3)
    assert same(whole(some, 4), whole(split.some(6, seed=3), 5))
    assert len({float(value) for value in some.read(torch.arange(6))[0][:, 0, 0]}) == 6


@pytest.mark.parametrize("kind", PASSES)
def test_what_can_only_be_gone_through_says_so(kind: str) -> None:
    split = PASSES[kind]()
    assert not split.indexed
    for ask in (split.fetch, split.take, split.read, split.targets, lambda rows: list(split.batches(2, order=rows))):
        with pytest.raises(DataError, match=r"no sample of it can be chosen; give a Dataset"):
            ask(torch.tensor([0]))
    assert same(whole(split.some(4), 2), HELD.fetch(torch.arange(4)))


@pytest.mark.parametrize("workers", [0, 2])
def test_boxes_stay_a_list_with_one_entry_per_sample(workers: int) -> None:
    split = as_live(Plain(BOXES), "here", workers=workers)
    _, target = whole(split, 4)
    assert [len(entry["boxes"]) for entry in target] == [index % 3 for index in range(COUNT)]
    assert [len(entry["boxes"]) for entry in split.targets(torch.tensor([2, 1]))] == [2, 1]
    assert as_live(Plain(None), "here").targets() is None


def test_class_indices_are_labels_and_nothing_else_is() -> None:
    assert class_indices(HeldSplit(LEFT, TARGET["class"].to(torch.uint8)).targets()).dtype == torch.int64
    with pytest.raises(DataError, match="the targets are dict of class, map, and no class indices"):
        class_indices(HELD.targets())
