"""npz files and functions of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compressor.data.arrays import as_split
from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.open import open_data
from compressor.data.spec import DataSpec
from compressor.errors import DataError, InputError


def table(**extra: Any) -> dict[str, Any]:
    random = np.random.default_rng(0)
    made = {}
    for split, count in (("train", 30), ("test", 10)):
        made[f"x_{split}"] = random.integers(0, 256, (count, 5, 4), dtype=np.uint8)
        made[f"y_{split}"] = np.arange(count) % 3
    return made | extra


def test_an_archive_with_its_own_splits(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, **table(x_val=np.zeros((4, 5, 4), np.uint8), y_val=np.arange(4) % 3, classes=["a", "b", "c"]))
    data = load_data(DataSpec(npz=str(path)))
    assert (len(data.train), len(data.validation), len(data.open_test())) == (30, 4, 10)
    assert data.input_shape == (1, 5, 4)
    assert data.classes == ("a", "b", "c")
    assert data.source == str(path)


def test_an_archive_of_x_and_y_is_divided(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    numbers = np.arange(100, dtype=np.uint8)
    np.savez(path, x=np.broadcast_to(numbers[:, None, None], (100, 4, 4)), y=numbers % 5)
    data = load_data(DataSpec(npz=str(path), validation=0.25, test=0.2))
    parts = [set(split.images[:, 0, 0, 0].tolist()) for split in (data.train, data.validation, data.open_test())]
    assert [len(part) for part in parts] == [60, 20, 20]
    assert len(set.union(*parts)) == 100


def test_damage_in_the_test_arrays_is_told_before_a_search(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, **table())
    load_data(DataSpec(npz=str(path)))
    np.savez(path, **table(x_test=np.array([object()], dtype=object)))
    with pytest.raises(DataError, match="x_test cannot be read"):
        load_data(DataSpec(npz=str(path)))


def test_a_pickle_inside_is_refused_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, **table(x_train=np.array([Bomb()], dtype=object)))
    with pytest.raises(DataError, match="x_train cannot be read"):
        load_data(DataSpec(npz=str(path)))
    assert not Bomb.exploded


class Bomb:
    exploded = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _explode, ()


def _explode() -> None:
    Bomb.exploded = True


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "text"])
def test_a_damaged_archive_is_named_in_one_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, **table())
    content = path.read_bytes()
    path.write_bytes({"missing": b"", "empty": b"", "cut": content[: len(content) // 2], "text": b"hello"}[damage])
    if damage == "missing":
        path.unlink()
    with pytest.raises(DataError, match=r"set\.npz") as caught:
        load_data(DataSpec(npz=str(path)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"x_train": np.zeros((3, 4, 4), np.uint8), "y_train": np.zeros(3)}, "x_test, y_test missing"),
        ({}, "found: nothing"),
        (table(y_train=np.zeros(7, np.int64)), "30 images but 7 labels"),
        (table(x_train=np.zeros((30, 4), np.uint8)), "test images are 1×5×4, training images 4"),
        (table(x_train=np.zeros((30, 4, 4), np.int64) - 1), "must lie in 0…255"),
        (table(x_train=np.full((30, 4, 4), np.nan)), "not finite"),
        (
            table(y_train=np.zeros((30, 3))),
            "test targets are .*int64 of one sample, training targets .*float32",
        ),
        (table(y_train=np.zeros(30, np.int64) - 1), "must not be negative"),
        (table(x_train=np.zeros((0, 4, 4), np.uint8), y_train=np.zeros(0, np.int64)), "no samples"),
    ],
)
def test_wrong_arrays_are_told_in_one_line(tmp_path: Path, arrays: dict[str, Any], complaint: str) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=complaint):
        load_data(DataSpec(npz=str(path)))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 5, 4), (2, 1, 5, 4)),
        ((2, 3, 5, 4), (2, 3, 5, 4)),
        ((2, 5, 6, 3), (2, 3, 5, 6)),
        ((2, 3, 9, 3), (2, 3, 9, 3)),
    ],
)
def test_channels_may_stand_first_or_last(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    images = as_split(pixels, [0, 1], "here").images
    assert tuple(images.shape) == expected
    if shape != expected and len(shape) == 4:
        assert np.array_equal(images.numpy(), pixels.transpose(0, 3, 1, 2))


def test_whole_numbers_become_bytes_and_floats_stay_floats() -> None:
    assert as_split(np.full((1, 2, 2), 200, np.int64), [0], "here").images.dtype == torch.uint8
    assert as_split(torch.full((1, 2, 2), 0.25, dtype=torch.float64), [0], "here").images.dtype == torch.float32


def several(**extra: Any) -> dict[str, Any]:
    """Two inputs and two targets."""
    made: dict[str, Any] = {}
    for split, count in (("train", 30), ("test", 10)):
        made[f"x_{split}_left"] = np.arange(count, dtype=np.uint8).repeat(12).reshape(count, 3, 4)
        made[f"x_{split}_right"] = np.arange(count * 2, dtype=np.float64).reshape(count, 2)
        made[f"y_{split}_sort"] = np.arange(count) % 3
        made[f"y_{split}_map"] = np.arange(count * 12).reshape(count, 3, 4).astype(np.int16) - 100
    return made | extra


def test_several_inputs_and_targets_have_names(tmp_path: Path) -> None:
    made = several()
    np.savez(tmp_path / "set.npz", **made)
    data = load_data(DataSpec(npz=str(tmp_path / "set.npz"), inputs=("right", "left"), targets="auto"))
    assert data.train.shapes == ((2,), (1, 3, 4))
    assert data.classes == ()
    left = (data.train.read(torch.arange(len(data.train)))[1][:, 0, 0, 0].long()).tolist()
    target = data.train.targets()
    assert target["sort"].tolist() == made["y_train_sort"][left].tolist()
    assert np.array_equal(target["map"].numpy(), made["y_train_map"][left])
    assert target["map"].dtype == torch.int64
    fed = data.normalised(data.train.read(torch.arange(2)))
    assert torch.equal(fed[0], data.train.read(torch.arange(2))[0])  # numbers stay what they are
    named = {key.replace("_train", ""): value for key, value in made.items() if "train" in key}
    assert open_data({key: value for key, value in named.items() if key[0] == "x"}).train.targets() is None
    assert set(open_data(named).train.targets()) == {"sort", "map"}


@pytest.mark.parametrize(
    ("extra", "complaint"),
    [
        ({"x_test_left": None}, "x_test_left missing"),
        ({"x_test_third": np.zeros((10, 2))}, "x_train_third missing beside x_test_third"),
        ({"y_test_map": None}, "y_test_map missing"),
        ({"x_train": np.zeros((30, 2))}, "x_train stands beside x_train_left, x_train_right; name each"),
        ({"x_train_left": np.zeros((29, 3, 4))}, "29 and 30 samples|30 and 29|29 images but 30"),
    ],
)
def test_inputs_without_a_counterpart_are_told(tmp_path: Path, extra: dict[str, Any], complaint: str) -> None:
    np.savez(tmp_path / "set.npz", **{key: value for key, value in several(**extra).items() if value is not None})
    with pytest.raises(DataError, match=complaint):
        load_data(DataSpec(npz=str(tmp_path / "set.npz")))


def test_inputs_of_other_names_than_the_network_s_are_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", **several())
    with pytest.raises(DataError, match="inputs left, right, but the network's are a, b"):
        load_data(DataSpec(npz=str(tmp_path / "set.npz"), inputs=("a", "b")))


@pytest.mark.parametrize(
    ("shape", "rank", "expected"),
    [
        ((7,), 1, (7,)),
        ((7,), 2, (1, 7)),
        ((2, 7), 2, (2, 7)),
        ((4, 5, 6), 4, (1, 4, 5, 6)),
        ((1, 4, 5, 6), 0, (1, 4, 5, 6)),
    ],
)
def test_signals_and_volumes_are_read_as_the_network_takes_them(
    tmp_path: Path, shape: tuple[int, ...], rank: int, expected: tuple[int, ...]
) -> None:
    values = np.random.default_rng(0).normal(size=(20, *shape))
    np.savez(tmp_path / "set.npz", x=values, y=values.reshape(20, -1)[:, 0])
    data = load_data(DataSpec(npz=str(tmp_path / "set.npz"), ranks=(rank,) if rank else ()))
    assert data.input_shape == expected
    assert data.normalised(data.train.images).shape[1:] == expected
    assert torch.equal(data.train.targets(), data.train.images.flatten(1)[:, 0])
    assert len(data.mean) == expected[0]
    with pytest.raises(DataError, match="the network takes samples of"):
        load_data(DataSpec(npz=str(tmp_path / "set.npz"), ranks=(len(expected) + 2,)))


def test_maps_are_resized_with_their_images(tmp_path: Path) -> None:
    images = np.zeros((20, 8, 8), np.uint8)
    images[:, :, 4:] = 200
    arrays = {"x": images, "y": (images > 100).astype(np.uint8)}
    np.savez(tmp_path / "set.npz", **arrays)
    for data in (
        load_data(DataSpec(npz=str(tmp_path / "set.npz"), size=4)),
        open_data(arrays, DataSpec(name="digits", size=4)),
    ):
        found, target = data.train.fetch(torch.arange(3))
        assert target.shape == (3, 4, 4)
        assert torch.equal(target, (found[:, 0] > 100).long())


MODULE = """
import numpy as np
from compressor.data.dataset import Data
from compressor.data.held import HeldSplit
import torch

def mapping():
    return {"x": np.zeros((20, 4, 4), np.uint8), "y": np.arange(20) % 2, "classes": ["no", "yes"]}

def finished():
    split = HeldSplit(torch.zeros(4, 1, 2, 2), torch.arange(4) % 2)
    return Data("mine", "memory", split, split, ("a", "b"), (0.0,), (1.0,), lambda: split)

def wrong():
    return [1, 2]

number = 3
"""


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_data.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("in_folder")
def test_a_function_gives_a_mapping_or_finished_data() -> None:
    data = load_data(DataSpec(function="my_own_data:mapping"))
    assert data.classes == ("no", "yes")
    assert len(data.open_test()) == 3
    finished = load_data(DataSpec(function="my_own_data:finished"))
    assert isinstance(finished, Data)
    assert finished.name == "mine"


@pytest.mark.usefixtures("in_folder")
@pytest.mark.parametrize(
    ("reference", "complaint"),
    [
        ("my_own_data", "not of the form package.module:function"),
        ("no_such_module_here:f", "cannot be imported"),
        ("my_own_data:absent", "has no 'absent'"),
        ("my_own_data:number", "is not a function"),
        ("my_own_data:wrong", "returned list"),
    ],
)
def test_a_wrong_function_is_told_in_one_line(reference: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        load_data(DataSpec(function=reference))
