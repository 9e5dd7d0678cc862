"""Tables of arrays (an npz file, what a user's function returns) as the parts of a set.

Either ``x_train, y_train[, x_val, y_val], x_test, y_test``, or ``x, y``; ``classes`` may name the classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import numpy as np

from compressor.data.arrays import as_split
from compressor.data.labels import LARGEST, refuse_counting_from_one
from compressor.data.parts import TEST_SEED, Parts
from compressor.data.pool import Held, Part, Pool
from compressor.data.spec import DataSpec
from compressor.data.stratify import sample_count, stratified
from compressor.errors import DataError

_VALIDATION: Final = ("val", "valid", "validation")
_NEEDED: Final = ("x_train", "y_train", "x_test", "y_test")


class Table(ABC):
    """Named arrays. ``where`` names the table in messages."""

    where: str

    @abstractmethod
    def keys(self) -> set[str]:
        """The names of the arrays."""

    @abstractmethod
    def pool(self, x: str, y: str) -> Pool:
        """The images called ``x`` with the class indices called ``y``. Raises ``DataError``."""

    @abstractmethod
    def array(self, key: str) -> Any:
        """One array. Raises ``DataError``."""


class Arrays(Table):
    """A mapping of arrays in memory."""

    def __init__(self, arrays: Mapping[str, Any], where: str) -> None:
        self._arrays = arrays
        self.where = where

    def keys(self) -> set[str]:
        return {str(key) for key in self._arrays}

    def pool(self, x: str, y: str) -> Pool:
        where = f"{self.where}: {x}, {y}"
        return Held(as_split(self._arrays[x], self._arrays[y], where), where)

    def array(self, key: str) -> Any:
        return self._arrays[key]


def parts_of(table: Table, spec: DataSpec) -> Parts:
    """The parts of a table. Raises ``DataError``."""
    keys = table.keys()
    classes = _names(table) if "classes" in keys else ()
    if {"x", "y"} <= keys and "x_train" not in keys:
        return _divided(table, spec, classes)
    missing = [key for key in _NEEDED if key not in keys]
    if missing:
        raise DataError(
            f"{table.where}: {', '.join(sorted(missing))} missing (found: {', '.join(sorted(keys)) or 'nothing'}); "
            "it needs x_train, y_train[, x_val, y_val], x_test, y_test, or x, y"
        )
    train = table.pool("x_train", "y_train")
    _check_counting(train, classes)
    validation = _validation(table, keys)
    test = partial(table.pool, "x_test", "y_test")
    separate = ("test",) if validation is None else ("validation", "test")
    return Parts(spec.title, table.where, classes, train, validation, test, separate=separate)


def _validation(table: Table, keys: set[str]) -> Pool | None:
    given = [name for name in _VALIDATION if {f"x_{name}", f"y_{name}"} & keys]
    if not given:
        return None
    if len(given) > 1:
        raise DataError(f"{table.where}: x_{given[0]} and x_{given[1]} are both validation images; keep one of them")
    (name,) = given
    for key in (f"x_{name}", f"y_{name}"):
        if key not in keys:
            raise DataError(f"{table.where}: {key} missing")
    return table.pool(f"x_{name}", f"y_{name}")


def _divided(table: Table, spec: DataSpec, classes: tuple[str, ...]) -> Parts:
    everything = table.pool("x", "y")
    _check_counting(everything, classes)
    count = sample_count(spec.test, len(everything))
    if count >= len(everything):
        raise DataError(f"{table.where}: data.test = {spec.test} leaves nothing of {len(everything)} samples")
    rest, held = stratified(everything.labels, count, TEST_SEED)
    test = Part(everything, held)
    return Parts(spec.title, table.where, classes, Part(everything, rest), None, lambda: test)


def _check_counting(train: Pool, classes: tuple[str, ...]) -> None:
    if not classes:
        refuse_counting_from_one(train.labels.numpy(), train.where)


def _names(table: Table) -> tuple[str, ...]:
    names = np.asarray(table.array("classes"))
    if names.ndim != 1 or not 0 < len(names) <= LARGEST:
        raise DataError(f"{table.where}: classes must be a list of names, one per class, not {names.shape}")
    return tuple(str(name) for name in names.tolist())
