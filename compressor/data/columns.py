"""A table with a row per image: CSV, read by the standard library, or Parquet, where pyarrow or pandas is there.

One column names the files, relative to the table, or in Parquet holds the images themselves; others hold what is to be
learned. Text is classes; whole numbers are class indices where there is one such column; everything else is numbers. A
column ``split`` tells train, validation and test apart.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from compressor.data.arrays import as_tensor
from compressor.data.decoded import Decoded, form_of
from compressor.data.divide import divided
from compressor.data.image_file import Format
from compressor.data.labels import as_target, refuse_counting_from_one
from compressor.data.listing import SPLIT_FOLDERS
from compressor.data.parts import Parts
from compressor.data.pool import Pool
from compressor.data.spec import DataSpec
from compressor.data.unpacked import Unpacked
from compressor.errors import DataError, did_you_mean
from compressor.files import require_regular

TABLES: Final = (".csv", ".tsv", ".parquet", ".pq")
_IMAGES: Final = ("image", "file", "filename", "file_name", "path", "filepath", "file_path", "image_path", "img")
_SPLIT: Final = ("split", "set", "subset", "fold")
_TARGETS: Final = ("label", "class", "target", "y", "category")
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,18}")
_BATCH: Final = 256
"""Rows of a Parquet file in memory at a time: they may hold images."""
Columns = dict[str, list[Any]]


def read_table(spec: DataSpec) -> Parts:
    """The parts of the table ``spec.table``. Raises ``DataError``."""
    path = Path(spec.table).expanduser()
    require_regular(path, DataError)
    columns = _read_parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _read_csv(path)
    image = _image_column(columns, spec, path)
    split = next((name for name in columns if name.lower() in _SPLIT and _are_splits(columns[name])), "")
    targets = () if spec.targets == "none" else _target_columns(columns, spec, path, (image, split))
    files = _files(columns[image], path, image)
    known, classes = _known(columns, targets, spec, path)
    rows = _rows(columns.get(split), len(files))
    where = str(path)
    if "train" not in rows:
        raise DataError(f"{where}: no row is of the training split; {split} holds {', '.join(sorted(rows))}")

    def pool(split: str, form: Format | Decoded) -> Decoded:
        chosen = rows[split]
        target = None if known is None else as_tensor(known[chosen])
        return Decoded([files[row] for row in chosen.tolist()], target, path, form)

    leader = pool("train", form_of(spec))
    if known is not None and not classes and leader.strata is not None:
        refuse_counting_from_one(leader.strata.numpy(), where)
    train: Pool = leader
    if "test" in rows:
        test: Any = partial(pool, "test", leader)
    else:
        train, test = divided(leader, spec, where, "rows")
    validation = pool("validation", leader) if "validation" in rows else None
    return Parts(path.name, where, classes, train, validation, test)


# --- reading -----------------------------------------------------------------------------------------------------


def _read_csv(path: Path) -> Columns:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            sample = file.read(1 << 16)
            file.seek(0)
            delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(sample)
            reader = csv.reader(file, delimiter=delimiter, strict=True, skipinitialspace=True)
            names = [name.strip() for name in next(reader, [])]
            columns: Columns = {name: [] for name in names}
            if len(columns) < len(names) or not all(names):
                raise DataError(f"{path}: its first line must name every column, each by a name of its own")
            for row in reader:
                if not row:
                    continue
                if len(row) != len(names):
                    raise DataError(f"{path}: line {reader.line_num} has {len(row)} fields, the first {len(names)}")
                for name, value in zip(names, row, strict=True):
                    columns[name].append(value.strip())
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file in UTF-8") from None
    except (csv.Error, OSError) as error:
        raise DataError(f"{path}: cannot be read as CSV ({error})") from None
    return columns


def _delimiter(sample: str) -> str:
    """What stands most often in the first line: a comma, a semicolon or a tab."""
    line = sample.partition("\n")[0]
    return max(",;\t", key=line.count)


def _read_parquet(path: Path) -> Columns:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        return _read_by_pandas(path)
    columns: Columns = defaultdict(list)
    images = Unpacked(path)
    try:
        for batch in parquet.ParquetFile(path).iter_batches(_BATCH):
            for number, (name, values) in enumerate(batch.to_pydict().items()):
                column = columns[name]
                column += [images.cell(number, row, value) for row, value in enumerate(values, len(column))]
    except DataError:
        raise
    except Exception as error:  # a damaged file may be damaged anywhere
        raise DataError(f"{path}: cannot be read as Parquet ({' '.join(str(error).split())[:200]})") from None
    return dict(columns)


def _read_by_pandas(path: Path) -> Columns:
    try:
        import pandas

        frame = pandas.read_parquet(path)
    except ImportError:
        raise DataError(f"{path}: Parquet needs pyarrow: pip install pyarrow, or save the table as CSV") from None
    except Exception as error:
        raise DataError(f"{path}: cannot be read as Parquet ({' '.join(str(error).split())[:200]})") from None
    images = Unpacked(path)
    return {
        str(name): [images.cell(number, row, value) for row, value in enumerate(frame[name].tolist())]
        for number, name in enumerate(frame.columns)
    }


# --- what the columns mean ---------------------------------------------------------------------------------------


def _image_column(columns: Columns, spec: DataSpec, path: Path) -> str:
    if spec.image:
        return _named(columns, spec.image, "data.image", path)
    by_name = [name for name in columns if name.lower() in _IMAGES]
    by_file = [name for name, values in columns.items() if values and _is_file(values[0], path)]
    found = [name for name in by_name if name in by_file] or by_file or by_name
    if len(found) != 1:
        none = f"none of the columns {', '.join(columns)} looks like"
        which = f"{', '.join(found)} all look like" if found else none
        raise DataError(f"{path}: {which} a column of image files; name it with data.image")
    return found[0]


def _is_file(value: Any, path: Path) -> bool:
    try:
        return _is_name(value) and (path.parent / value).is_file()
    except (OSError, ValueError):
        return False


def _target_columns(columns: Columns, spec: DataSpec, path: Path, taken: Sequence[str]) -> tuple[str, ...]:
    if spec.target:
        return tuple(_named(columns, name, "data.target", path) for name in spec.target)
    left = [name for name in columns if name not in taken]
    found = [name for name in left if name.lower() in _TARGETS] or left
    if len(found) > 1:
        raise DataError(f"{path}: {', '.join(found[:8])} might all be learned; name one or several with data.target")
    return tuple(found)


def _named(columns: Columns, name: str, key: str, path: Path) -> str:
    if name not in columns:
        raise DataError(f"{key}: {path} has no column {name!r}{did_you_mean(name, list(columns))}")
    return name


def _files(values: Sequence[Any], path: Path, column: str) -> list[Path]:
    if not values:
        raise DataError(f"{path}: no rows")
    if not all(map(_is_name, values)):
        row = next(index for index, value in enumerate(values) if not _is_name(value))
        kind = "empty" if values[row] in ("", None) else f"a {type(values[row]).__name__}"
        raise DataError(f"{path}: {column} of row {row + 1} is {kind}; it must be an image file")
    files = [path.parent / value for value in values]
    for row, file in enumerate(files):
        if not file.is_file():
            raise DataError(f"{path}: {column} of row {row + 1}: no file {file}")
    return files


def _is_name(value: Any) -> bool:
    return isinstance(value, Path) or (isinstance(value, str) and bool(value))


def _known(
    columns: Columns, targets: tuple[str, ...], spec: DataSpec, path: Path
) -> tuple[NDArray[Any] | None, tuple[str, ...]]:
    """Targets of all rows, and the names of the classes where there are some."""
    if not targets:
        return None, ()
    arrays = [_numbers(columns[name]) for name in targets]
    if len(targets) == 1 and arrays[0] is None:
        return _classes(columns[targets[0]], spec, path, targets[0])
    for name, array in zip(targets, arrays, strict=True):
        if array is None:
            raise DataError(f"{path}: {name} holds text; several columns that are learned together must be numbers")
    numbers = [array for array in arrays if array is not None]
    together = numbers[0] if len(numbers) == 1 else np.stack(numbers, axis=1)
    kind = "numbers" if len(numbers) > 1 and spec.targets == "auto" else spec.targets
    known = as_target(together, f"{path}: {', '.join(targets)}", kind)
    return known, spec.classes


def _numbers(values: Sequence[Any]) -> NDArray[Any] | None:
    """Whole numbers where all are, else floating point; None where some are no numbers."""
    if all(map(_is_whole, values)):
        return np.array([int(value) for value in values])
    try:
        return np.array([float(value) for value in values])
    except (TypeError, ValueError):
        return None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) or (isinstance(value, str) and _WHOLE.fullmatch(value) is not None)


def _classes(
    values: Sequence[Any], spec: DataSpec, path: Path, column: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Class indices of text, in alphabetical order or in that of ``data.classes``."""
    texts = [str(value) for value in values]
    names = spec.classes or tuple(sorted(set(texts)))
    if "" in names:
        raise DataError(f"{path}: {column} of row {texts.index('') + 1} is empty")
    for name in sorted(set(texts)):
        if name not in names:
            raise DataError(f"data.classes: {path} has the class {name!r} in {column}{did_you_mean(name, names)}")
    places = {name: index for index, name in enumerate(names)}
    return np.array([places[text] for text in texts], dtype=np.int64), names


def _are_splits(values: Sequence[Any]) -> bool:
    return bool(values) and all(str(value).casefold() in SPLIT_FOLDERS for value in values)


def _rows(values: Sequence[Any] | None, count: int) -> dict[str, NDArray[np.int64]]:
    if values is None:
        return {"train": np.arange(count)}
    splits = np.array([SPLIT_FOLDERS[str(value).casefold()] for value in values])
    return {str(split): np.flatnonzero(splits == split) for split in np.unique(splits)}
