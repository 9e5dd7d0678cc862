"""Datasets, loaders and functions of a user's own, as they come."""

from __future__ import annotations

import random
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset, WeightedRandomSampler

from compressor.data.dataset import Data
from compressor.data.held import HeldSplit
from compressor.data.live import as_live
from compressor.data.load import load_data
from compressor.data.open import from_loaders, open_data
from compressor.data.spec import DataSpec
from compressor.errors import DataError
from compressor.graph import nested


class Numbers(Dataset[Any]):
    """Sample n is filled with n; of class n % 3."""

    def __init__(self, count: int = 60, first: int = 0) -> None:
        self.values = range(first, first + count)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> Any:
        value = self.values[index]
        return torch.full((1, 4, 4), float(value)), value % 3


class Stating(Numbers):
    """As torchvision's datasets do."""

    classes = ("zero", "one", "two")

    @property
    def targets(self) -> list[int]:
        return [value % 3 for value in self.values]


class Flowing(IterableDataset[Any]):
    def __init__(self, count: int = 30, first: int = 0) -> None:
        self.whole = Numbers(count, first)

    def __iter__(self) -> Any:
        return (self.whole[index] for index in range(len(self.whole)))


def seen(split: Any) -> list[int]:
    return sorted(int(value) for inputs, _ in split.batches(7) for value in inputs[:, 0, 0, 0])


def splits(data: Data) -> list[list[int]]:
    return [seen(split) for split in (data.train, data.validation, data.open_test())]


# --- which samples are where -------------------------------------------------------------------------------------


def test_one_dataset_is_divided_into_three_that_share_nothing() -> None:
    one, again = (splits(from_loaders(Numbers(), spec=DataSpec(name="digits", seed=3))) for _ in range(2))
    assert one == again
    assert sorted(chain.from_iterable(one)) == list(range(60))
    assert all(one)
    other = splits(from_loaders(Numbers(), spec=DataSpec(name="digits", seed=4)))
    assert other[2] == one[2]
    assert other[1] != one[1]


def test_stated_classes_have_their_share_in_every_split() -> None:
    data = from_loaders(Stating(), spec=DataSpec(name="digits", validation=12, test=9, limit=15))
    assert data.classes == ("zero", "one", "two")
    for split, count in ((data.train, 5), (data.validation, 4), (data.open_test(), 3)):
        assert torch.bincount(split.targets()).tolist() == [count] * 3


def test_the_test_split_comes_out_of_what_the_network_has_not_learned() -> None:
    data = from_loaders(Numbers(40), Numbers(20, first=40))
    train, validation, test = splits(data)
    assert train == list(range(40))
    assert sorted(validation + test) == list(range(40, 60))
    assert len(test) == 10
    assert "half of the validation samples are the test split" in data.notes[0]


def test_splits_that_are_known_to_share_samples_are_refused() -> None:
    whole = Numbers()
    parts = [Subset(whole, range(40)), Subset(whole, range(39, 60))]
    for train, validation, count in ((*parts, 1), (whole, whole, 60), (DataLoader(parts[0]), Subset(whole, [3]), 1)):
        with pytest.raises(DataError, match=rf"{count} of the validation samples are train samples too"):
            from_loaders(train, validation)
    nested_part = Subset(Subset(whole, range(30, 60)), range(10))
    assert len(from_loaders(Subset(whole, range(30)), nested_part).train) == 30


def test_what_is_read_in_passes_cannot_be_divided() -> None:
    with pytest.raises(DataError, match="no validation samples can be drawn from it: give validation data too"):
        from_loaders(Flowing())
    with pytest.raises(DataError, match="no test samples can be drawn from it: give test data too"):
        from_loaders(Flowing(), Flowing(9, first=30))
    data = from_loaders(Flowing(), Flowing(9, first=30), Flowing(9, first=40), DataSpec(name="digits", limit=20))
    assert splits(data) == [list(range(20)), list(range(30, 39)), list(range(40, 49))]


def test_images_and_targets_may_come_as_arrays_too() -> None:
    images, labels = np.zeros((30, 1, 4, 4), np.float32), np.arange(30) % 2
    data = from_loaders((images, labels), (images[:8] + 1, labels[:8]))
    assert data.classes == ("0", "1")
    assert open_data({"x": images, "y": labels}).classes == ("0", "1")
    assert open_data((Numbers(30), Numbers(9, first=30), Numbers(9, first=40))).train.shape == (1, 4, 4)


# --- loaders -----------------------------------------------------------------------------------------------------


def test_a_plain_loader_is_taken_apart_and_any_other_gone_through() -> None:
    plain = as_live(DataLoader(Numbers(10), batch_size=4, shuffle=True, drop_last=True), "here")
    assert plain.indexed
    assert seen(plain) == list(range(10))
    weighted = as_live(DataLoader(Numbers(10), 4, sampler=WeightedRandomSampler([0.0] * 9 + [1.0], 6)), "here")
    assert not weighted.indexed
    assert seen(weighted) == [9] * 6
    assert len(weighted) == 6
    assert [len(inputs) for inputs, _ in weighted.batches(100)] == [4, 2]  # of the size that the owner chose


def test_a_collate_function_is_the_owner_s() -> None:
    def collate(samples: list[Any]) -> Any:
        images = torch.stack([image for image, _ in samples])
        return {"left": images, "right": torch.zeros(len(samples), 2), "y": [kind + 7 for _, kind in samples]}

    split = as_live(DataLoader(Numbers(5), 2, collate_fn=collate), "here", names=("left", "right"))
    inputs, target = split.fetch(torch.tensor([1, 2]))
    assert [tuple(part.shape) for part in inputs] == [(2, 1, 4, 4), (2, 2)]
    assert target == [8, 9]
    with pytest.raises(DataError, match=r"dictionaries of left, right, y, and the network's inputs are a, b"):
        as_live(Numbers(5), "here", names=("a", "b"), collate=collate)


@pytest.mark.parametrize(
    ("sample", "names", "inputs", "target"),
    [
        ((torch.zeros(3), 1), (), 1, True),
        ((torch.zeros(3),), (), 1, False),
        (torch.zeros(3), (), 1, False),
        (((torch.zeros(3), torch.zeros(2)), 1), (), 2, True),
        ((torch.zeros(3), torch.zeros(2)), ("a", "b"), 2, False),
        ((torch.zeros(3), torch.zeros(2), 1), ("a", "b"), 2, True),
        (({"b": torch.zeros(2), "a": torch.zeros(3)}, 1), ("a", "b"), 2, True),
        ({"b": torch.zeros(2), "a": torch.zeros(3), "y": 1}, ("a", "b"), 2, True),
        ({"label": 1, "image": torch.zeros(3)}, (), 1, True),
        ({"label": 1, "image": torch.zeros(3)}, ("a",), 1, True),
        ({"pixel_values": torch.zeros(3)}, (), 1, False),
    ],
)
def test_inputs_and_target_are_told_apart(sample: Any, names: tuple[str, ...], inputs: int, target: bool) -> None:
    class Same(Dataset[Any]):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> Any:
            return sample

    split = as_live(Same(), "here", names=names)
    found, learned = split.fetch(torch.arange(4))
    assert len(list(nested.tensors(found))) == inputs
    assert split.shapes[0] == (3,)
    assert (learned is not None) == target


def test_three_parts_leave_it_open() -> None:
    with pytest.raises(DataError, match="samples of 3 parts leave open which are inputs"):
        as_live(TensorDataset(torch.zeros(4, 3), torch.zeros(4), torch.zeros(4)), "here")


# --- values ------------------------------------------------------------------------------------------------------


def test_values_come_as_networks_and_losses_take_them() -> None:
    class Typed(Dataset[Any]):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> Any:
            target = {"a": np.float64(0.5), "b": np.uint8(3), "c": True}
            return (np.zeros((2, 3)), torch.zeros(2, dtype=torch.uint8), np.int32(4)), target

    (first, second, third), target = as_live(Typed(), "here").fetch(torch.arange(2))
    assert [part.dtype for part in (first, second, third)] == [torch.float32, torch.uint8, torch.int64]
    assert [target[key].dtype for key in "abc"] == [torch.float32, torch.int64, torch.bool]


def test_floats_are_fed_as_they_are_and_pictures_as_pixels() -> None:
    class Pictures(Numbers):
        def __getitem__(self, index: int) -> Any:
            return Image.new("RGB", (5, 4), (index, 0, 0)), index % 3

    floats = from_loaders(Numbers())
    assert (floats.mean, floats.std) == ((0.0,), (1.0,))
    pixels = from_loaders(Pictures())
    assert pixels.train.shape == (3, 4, 5)
    assert pixels.train.dtype == torch.uint8
    assert pixels.mean[0] > 0


def test_tensors_in_memory_stay_where_they_are() -> None:
    images = torch.rand(20, 1, 4, 4)
    split = as_live(DataLoader(TensorDataset(images, torch.arange(20) % 2), 4, shuffle=True), "here")
    assert isinstance(split, HeldSplit)
    assert split.store.data_ptr() == images.data_ptr()


@pytest.mark.parametrize("workers", [0, 2])
def test_chance_in_a_dataset_repeats_with_the_seed(workers: int) -> None:
    class Noisy(Numbers):
        def __getitem__(self, index: int) -> Any:
            value = torch.rand(1) + random.random() + float(np.random.rand())
            return value, index

    before = torch.rand(1), random.random(), np.random.rand()
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    split = as_live(Noisy(), "here", workers=workers)
    passes = [torch.cat([inputs for inputs, _ in split.batches(16, seed=seed)]) for seed in (1, 1, 2)]
    assert torch.equal(passes[0], passes[1])
    assert not torch.equal(passes[0], passes[2])
    after = torch.rand(1), random.random(), np.random.rand()
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    assert after == (torch.rand(1), random.random(), np.random.rand())
    assert before


# --- what goes wrong ---------------------------------------------------------------------------------------------


class Broken(Numbers):
    def __getitem__(self, index: int) -> Any:
        if self.values[index] == 17:
            raise KeyError("seventeen")
        return super().__getitem__(index)


class Uneven(Numbers):
    def __getitem__(self, index: int) -> Any:
        return torch.zeros(1, 4, 4 + (index == 17)), 0


class Once(Flowing):
    def __init__(self) -> None:
        super().__init__()
        self.left = super().__iter__()

    def __iter__(self) -> Any:
        return self.left


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        (Broken, r"here: reading sample .* failed: KeyError: 'seventeen' \(.*test_live\.py, line \d+\)"),
        (Uneven, r"here: (reading sample .*stack expects each tensor|samples of .* come behind samples of)"),
        (Once, r"here: gave nothing when it was gone through again"),
        (lambda: iter([1]), r"here: a list_iterator can be gone through once only"),
        (lambda: Numbers(0), r"here: no samples"),
        (lambda: DataLoader(Flowing(0)), r"here: no samples"),
        (lambda: 3, r"here: int is no Dataset, DataLoader or iterable of batches"),
        (lambda: [("a", "b")], r"here: an input is a str"),
        (
            lambda: DataLoader(Numbers(9), batch_size=None),
            r"here: a batch has the target \d.*give the loader a batch_size",
        ),
        (
            lambda: [([torch.zeros(1, 2)] * 3, torch.zeros(3))],
            r"here: a batch has inputs of 1 and targets of 3 samples",
        ),
        (lambda: [((torch.zeros(3, 2), torch.zeros(4, 2)), None)], r"here: a batch has inputs of 3 and 4 samples"),
        (
            lambda: [(torch.zeros(2, 2), {"a": [1, 2], "b": torch.zeros(3)})],
            r"here: a batch's targets are parts of 2 and",
        ),
    ],
)
def test_what_fails_is_told_in_one_line(kind: Any, complaint: str) -> None:
    for workers in (0, 2)[: 1 + (kind in (Broken, Uneven))]:
        with pytest.raises(DataError, match=complaint) as caught:
            gone_through(kind(), workers)
        assert "\n" not in str(caught.value)


def gone_through(value: Any, workers: int) -> None:
    split = as_live(value, "here", workers=workers)
    for _ in range(3):
        list(split.batches(16))


def test_an_endless_stream_is_not_counted_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(IterableDataset[Any]):
        def __iter__(self) -> Any:
            while True:
                yield torch.zeros(2), 0

    monkeypatch.setattr("compressor.data.passes._MOST", 1000)
    split = as_live(Endless(), "here")
    with pytest.raises(DataError, match=r"does not end after 1,000 samples; say how many with data\.limit"):
        len(split)
    assert len(split.first(100)) == 100


# --- functions ---------------------------------------------------------------------------------------------------

MODULE = """
import torch
from torch.utils.data import DataLoader, TensorDataset

def part(count, first):
    images = torch.arange(first, first + count, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    return TensorDataset(images, torch.arange(count) % 2)

def one():
    return part(40, 0)

def three():
    return part(20, 0), DataLoader(part(10, 20), 4), part(10, 30)

def named():
    return {"train": part(20, 0), "val": part(10, 20), "test": part(10, 30)}

def by_split(split):
    return {"train": part(30, 0), "validation": None, "test": part(10, 30)}[split]

def yielding(split):
    for start in range(0, 20, 5):
        yield part(20, {"train": 0, "validation": 20, "test": 40}[split])[start:start + 5]

def lost():
    yield 1

def unknown():
    return {"training data": part(3, 0)}
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "live_data_of_mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "live_data_of_mine", raising=False)


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("name", "sizes"),
    [("one", None), ("three", (20, 10, 10)), ("named", (20, 10, 10)), ("by_split", None), ("yielding", (20, 20, 20))],
)
def test_a_function_gives_live_objects(name: str, sizes: tuple[int, ...] | None) -> None:
    data = load_data(DataSpec(function=f"live_data_of_mine:{name}"))
    found = splits(data)
    assert len(set(chain.from_iterable(found))) == sum(map(len, found)) == (60 if name == "yielding" else 40)
    assert sizes is None or tuple(map(len, found)) == sizes


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("name", "complaint"),
    [("lost", "let it take the name of the split"), ("unknown", "'training data' is no split; name them train")],
)
def test_a_function_that_leaves_splits_open_is_told(name: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        load_data(DataSpec(function=f"live_data_of_mine:{name}"))
