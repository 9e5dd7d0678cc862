"""Mappings of arrays (an npz file, what a user's function returns) as the parts of a set.

Either ``x_train, y_train[, x_val, y_val], x_test, y_test``, or ``x, y``; ``classes`` may name the classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from compressor.data.arrays import as_split, class_names
from compressor.data.dataset import Split
from compressor.data.parts import TEST_SEED, Parts
from compressor.data.spec import DataSpec
from compressor.data.stratify import sample_count, stratified
from compressor.errors import DataError

Table = Mapping[str, Any]


def parts_of(open_table: Callable[[], Table], spec: DataSpec, where: str) -> Parts:
    """The parts of a table; ``open_table`` is called again for the test split, so nothing of it is read before."""
    table = open_table()
    keys = set(table)
    given = table["classes"] if "classes" in keys else None
    if {"x", "y"} <= keys and "x_train" not in keys:
        return _divided(open_table, table, spec, where)
    missing = {"x_train", "y_train", "x_test", "y_test"} - keys
    if missing:
        raise DataError(
            f"{where}: {', '.join(sorted(missing))} missing (found: {', '.join(sorted(keys)) or 'nothing'}); "
            "it needs x_train, y_train[, x_val, y_val], x_test, y_test, or x, y"
        )
    train = _pair(table, "train", where)
    validation = _pair(table, "val", where) if {"x_val", "y_val"} <= keys else None
    return Parts(
        name=spec.title,
        source=where,
        classes=class_names(given, train.labels),
        train=train,
        validation=validation,
        test=lambda: _pair(open_table(), "test", where),
    )


def _divided(open_table: Callable[[], Table], table: Table, spec: DataSpec, where: str) -> Parts:
    everything = as_split(table["x"], table["y"], where)
    count = sample_count(spec.test, len(everything))
    if count >= len(everything):
        raise DataError(f"{where}: data.test = {spec.test} leaves nothing of {len(everything)} samples")
    rest, held = stratified(everything.labels, count, TEST_SEED)

    def test() -> Split:
        again = open_table()
        return as_split(again["x"], again["y"], where).take(held)

    given = table["classes"] if "classes" in set(table) else None
    return Parts(spec.title, where, class_names(given, everything.labels), everything.take(rest), None, test)


def _pair(table: Table, split: str, where: str) -> Split:
    return as_split(table[f"x_{split}"], table[f"y_{split}"], f"{where}: x_{split}, y_{split}")
