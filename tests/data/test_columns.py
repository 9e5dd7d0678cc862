"""Tables with a row per image file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from samples import numbers_of, write_numbered

from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.errors import DataError


def table(root: Path, header: str, *rows: str, name: str = "set.csv") -> DataSpec:
    write_numbered(root / "pictures", 12)
    (root / name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8-sig")
    return DataSpec(table=str(root / name), validation=2, test=2)


def rows(of: Any, *more: Any) -> list[str]:
    """Lines of 12 images, and of what the functions say of each number."""
    return [",".join([f"pictures/{i:03d}.png", str(of(i)), *(str(part(i)) for part in more)]) for i in range(12)]


def test_text_in_a_table_is_classes(tmp_path: Path) -> None:
    data = load_data(table(tmp_path, "path,label", *rows(lambda i: "cat" if i % 2 else "dog")))
    assert data.classes == ("cat", "dog")
    assert sorted([*chain.from_iterable(numbers_of(data))]) == list(range(12))
    for split in (data.train, data.validation, data.open_test()):
        assert torch.equal(split.targets(), 1 - split.images[:, 1, 0, 0].long() % 2)


def test_numbers_in_a_table_are_numbers(tmp_path: Path) -> None:
    spec = table(tmp_path, "image,age,who", *rows(lambda i: i / 4, lambda i: "x"))
    data = load_data(DataSpec(table=spec.table, target=("age",)))
    assert data.classes == ()
    assert torch.equal(data.train.targets(), data.train.images[:, 1, 0, 0] / 4)
    both = load_data(
        DataSpec(table=table(tmp_path, "image,a,b", *rows(lambda i: i % 2, lambda i: i)).table, target=("a", "b"))
    )
    assert both.train.targets().shape == (len(both.train), 2)
    assert both.train.targets().dtype == torch.float32
    assert load_data(DataSpec(table=spec.table, targets="none")).train.targets() is None


def test_quotes_and_the_blanks_before_them_are_no_part_of_a_field(tmp_path: Path) -> None:
    kinds = ["cat, big", "dog"]
    quoted = (
        ", ".join(f'"{field}"' for field in (row.split(",")[0], kinds[i % 2]))
        for i, row in enumerate(rows(lambda i: 0))
    )
    assert load_data(table(tmp_path, "image, label", *quoted)).classes == ("cat, big", "dog")


def test_a_column_tells_the_splits_apart(tmp_path: Path) -> None:
    splits = ["train"] * 6 + ["Val"] * 3 + ["test"] * 3
    data = load_data(
        table(tmp_path, "file;y;split", *(row.replace(",", ";") for row in rows(lambda i: i % 2, splits.__getitem__)))
    )
    assert numbers_of(data) == [list(range(6)), [6, 7, 8], [9, 10, 11]]
    assert data.classes == ("0", "1")


@pytest.mark.parametrize(
    ("header", "line", "complaint"),
    [
        ("path,label", "pictures/absent.png,1", r"path of row 1: no file .*absent\.png"),
        ("path,label", ",1", "path of row 1 is empty"),
        ("path,label", "pictures/000.png", "line 2 has 1 fields, the first 2"),
        ("path,path", "a,b", "name every column, each by a name of its own"),
        ("one,two", "a,b", "none of the columns one, two looks like a column of image files"),
        ("path,a,b", "pictures/000.png,1,2", "a, b might all be learned; name one or several with data.target"),
        ("path,label", 'pictures/000.png,"1', "cannot be read as CSV"),
        ("path,label", "pictures/000.png,", "label of row 1 is empty"),
        ("path,label", "pictures/000.png,nan", "not finite"),
    ],
)
def test_a_table_that_is_wrong_is_told_in_one_line(tmp_path: Path, header: str, line: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint) as caught:
        load_data(table(tmp_path, header, line))
    assert "\n" not in str(caught.value)


def test_parquet_without_its_library_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"a\.parquet: (Parquet needs pyarrow|cannot be read)"):
        load_data(DataSpec(table=str(tmp_path / "a.parquet")))


class _Batches:
    """What pyarrow gives of a file, a few rows at a time."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self.columns = columns

    def __call__(self, path: Path) -> _Batches:
        return self

    def iter_batches(self, size: int) -> Iterator[SimpleNamespace]:
        for start in range(0, len(self.columns["label"]), 5):
            part = {name: values[start : start + 5] for name, values in self.columns.items()}
            yield SimpleNamespace(to_pydict=lambda part=part: part)


def test_images_that_lie_in_a_parquet_table_are_read_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(tmp_path, "path,label", *rows(lambda i: i % 2))  # draws the pictures
    pictures = sorted((tmp_path / "pictures").iterdir())
    inside: list[Any] = [{"bytes": file.read_bytes(), "path": file.name} for file in pictures]
    inside[1] = pictures[1].read_bytes()
    inside[2] = {"bytes": None, "path": "pictures/002.png"}
    columns = {"image": inside, "label": [i % 2 for i in range(len(pictures))], "split": ["train"] * 8 + ["test"] * 4}
    fake = ModuleType("pyarrow.parquet")
    fake.__dict__["ParquetFile"] = _Batches(columns)
    package = ModuleType("pyarrow")
    package.__dict__["parquet"] = fake
    monkeypatch.setitem(sys.modules, "pyarrow", package)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", fake)
    monkeypatch.setenv("COMPRESSOR_DATA", str(tmp_path / "cache"))
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    data = load_data(DataSpec(table=str(tmp_path / "a.parquet"), validation=2))
    train, validation, test = numbers_of(data)
    assert sorted([*train, *validation]) == list(range(8))
    assert test == [8, 9, 10, 11]
    (tmp_path / "full").write_text("no folder")
    monkeypatch.setenv("COMPRESSOR_DATA", str(tmp_path / "full"))
    with pytest.raises(DataError, match=r"cannot be laid out in .*COMPRESSOR_DATA names another folder"):
        load_data(DataSpec(table=str(tmp_path / "a.parquet")))
    monkeypatch.setenv("COMPRESSOR_DATA", str(tmp_path / "cache"))
    inside[4] = {"bytes": None, "path": None}
    with pytest.raises(DataError, match="image of row 5 is empty; it must be an image file"):
        load_data(DataSpec(table=str(tmp_path / "a.parquet")))
