"""Images of which nothing else is known."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from samples import numbers_of, write_classes, write_numbered

from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.errors import DataError


def loaded(root: Path, **fields: Any) -> Data:
    return load_data(DataSpec(folder=str(root), **fields))


def test_images_without_classes_have_no_target(tmp_path: Path) -> None:
    write_numbered(tmp_path, 20)
    data = loaded(tmp_path, validation=4, test=5)
    assert sorted([*chain.from_iterable(numbers_of(data))]) == list(range(20))
    assert [len(part) for part in numbers_of(data)] == [11, 4, 5]
    assert data.classes == ()
    assert data.train.targets() is None
    assert [target for _, target in data.calibration_batches(8, batch=4)] == [None, None]


def test_images_below_folders_of_splits_keep_their_splits(tmp_path: Path) -> None:
    for number, name in enumerate(("train", "val", "test")):
        write_numbered(tmp_path / name, 6, 10 * number)
    assert numbers_of(loaded(tmp_path)) == [list(range(start, start + 6)) for start in (0, 10, 20)]
    assert loaded(tmp_path, kind="classes").classes == ("test", "train", "val")


def test_what_is_there_can_be_read_as_something_else(tmp_path: Path) -> None:
    write_classes(tmp_path, ("a", "b"), 10)
    assert loaded(tmp_path).classes == ("a", "b")
    assert loaded(tmp_path, kind="images").classes == ()
    with pytest.raises(DataError, match="no folder images/ beside a folder masks/"):
        loaded(tmp_path, kind="masks")
    with pytest.raises(DataError, match="no annotations/"):
        loaded(tmp_path, kind="boxes")
