"""The three splits of a set go together, or nothing begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from samples import write_classes
from torch import nn

from compressor.data.dataset import Data, Split
from compressor.data.fit import check_fit
from compressor.data.held import HeldSplit
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.errors import DataError
from compressor.graph.capture import capture
from compressor.graph.network import Network

RANDOM = np.random.default_rng(0)


def pixels(count: int) -> NDArray[np.uint8]:
    return RANDOM.integers(0, 256, (count, 6, 6), dtype=np.uint8)


def arrays(folder: Path, **extra: Any) -> DataSpec:
    table = {"x_train": pixels(60), "y_train": np.arange(60) % 3, "x_test": pixels(30), "y_test": np.arange(30) % 3}
    np.savez(folder / "set.npz", **(table | extra))
    return DataSpec(npz=str(folder / "set.npz"))


def network(outputs: int, side: int = 6) -> Network:
    return capture(nn.Sequential(nn.Flatten(), nn.Linear(side * side, outputs)), (1, side, side))


@pytest.mark.parametrize("split", ["test", "val"])
def test_a_class_of_another_split_counts(tmp_path: Path, split: str) -> None:
    data = load_data(arrays(tmp_path, **{f"x_{split}": pixels(30), f"y_{split}": np.r_[np.arange(29) % 3, 3]}))
    assert data.classes == ("0", "1", "2", "3")
    name = "test" if split == "test" else "validation"
    assert data.notes == (f"class '3' has 1 {name} and no training samples",)
    check_fit(network(4), data)
    with pytest.raises(DataError, match="4 classes, but the model has only 3 outputs"):
        check_fit(network(3), data)


def test_a_label_beyond_the_names_is_refused(tmp_path: Path) -> None:
    spec = arrays(tmp_path, y_test=np.arange(30) % 4, classes=["a", "b", "c"])
    with pytest.raises(DataError, match="test label 3 is no class; there are 3"):
        load_data(spec)


def test_finished_data_of_a_function_are_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def split(top: int) -> Split:
        return HeldSplit(torch.rand(20, 1, 4, 4), torch.arange(20) % top)

    made = Data("mine", "memory", split(2), split(2), ("a", "b"), (0.0,), (1.0,), lambda: split(3))
    monkeypatch.setattr("compressor.data.load.read_function", lambda spec: made)
    with pytest.raises(DataError, match="test label 2 is no class"):
        load_data(DataSpec(function="some:function"))


def test_one_logit_is_told_what_to_become(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="task = binary"):
        check_fit(network(1), load_data(arrays(tmp_path)))


@pytest.mark.parametrize(
    ("shape", "advice"),
    [((1, 9, 9), r"data\.size = 9"), ((3, 6, 6), r"data\.channels = 3")],
)
def test_images_that_do_not_fit_get_advice(tmp_path: Path, shape: tuple[int, ...], advice: str) -> None:
    model = capture(nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 3)), shape)
    with pytest.raises(DataError, match=advice):
        check_fit(model, load_data(arrays(tmp_path)))


def test_channels_that_stand_last_are_seen(tmp_path: Path) -> None:
    spec = arrays(tmp_path, x_train=RANDOM.random((60, 6, 6, 5)), x_test=RANDOM.random((30, 6, 6, 5)))
    model = capture(nn.Sequential(nn.Flatten(), nn.Linear(180, 3)), (5, 6, 6))
    with pytest.raises(DataError, match="give them first"):
        check_fit(model, load_data(spec))


SCALES = {
    "0…255": lambda x: x.astype(np.float32),
    "0…1": lambda x: x.astype(np.float32) / 255,
    "-1…1": lambda x: x.astype(np.float32) / 127.5 - 1,
    "standardised": lambda x: (x.astype(np.float32) - 127) / 74,
    "bytes": lambda x: x,
    "bytes of 0…1": lambda x: np.rint(x / 255).astype(np.uint8),
    "4 bits": lambda x: x // 16,
}


@pytest.mark.parametrize("split", ["test", "val"])
@pytest.mark.parametrize("one", SCALES)
@pytest.mark.parametrize("two", SCALES)
def test_splits_on_different_scales_are_refused(tmp_path: Path, one: str, two: str, split: str) -> None:
    extra = {"x_train": SCALES[one](pixels(60)), f"x_{split}": SCALES[two](pixels(30)), f"y_{split}": np.arange(30) % 3}
    if split == "val":
        extra["x_test"] = SCALES[one](pixels(30))
    spec = arrays(tmp_path, **extra)
    same = one == two or {one, two} <= {"bytes", "0…1"} or {one, two} <= {"-1…1", "standardised"}
    if same:  # bytes are read as 0…1; centred either way is within what photographs differ by
        load_data(spec)
        return
    with pytest.raises(DataError, match="another scale") as caught:
        load_data(spec)
    assert "\n" not in str(caught.value)


def test_darker_test_images_are_no_other_scale(tmp_path: Path) -> None:
    assert load_data(arrays(tmp_path, x_test=pixels(30) // 3)).notes == ()


def test_images_that_occur_in_two_splits_are_said(tmp_path: Path) -> None:
    train = pixels(60)
    data = load_data(arrays(tmp_path, x_train=train, x_test=np.concatenate([train[:4], pixels(26)])))
    assert len(data.notes) >= 1
    told = " ".join(data.notes)
    assert "of 30 test images" in told
    assert "among the training images too" in told


def test_copies_of_a_file_in_two_splits_are_said(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", ("a", "b"), 12)
    write_classes(tmp_path / "test", ("a", "b"), 2)
    (note, *_) = [note for note in load_data(DataSpec(folder=str(tmp_path))).notes if "test images" in note]
    assert "of 4 test images are among the" in note
