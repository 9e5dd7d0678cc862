"""Tables of arrays (an npz file, what a user's function returns) as the parts of a set.

Either ``x_train, y_train[, x_val, y_val], x_test, y_test``, or ``x, y``; ``classes`` may name the classes. Several
inputs or targets have names of their own: ``x_left, x_right, y``, or ``x_train_left, x_train_right, y_train``. Without
any ``y`` there is nothing to learn but the network's own answers.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import numpy as np

from compressor.data.arrays import as_split
from compressor.data.divide import divided
from compressor.data.labels import LARGEST, refuse_counting_from_one
from compressor.data.parts import Parts
from compressor.data.pool import Held, Pool
from compressor.data.spec import DataSpec
from compressor.errors import DataError

_NEEDED: Final = "it needs x_train, y_train[, x_val, y_val], x_test, y_test, or x, y"
_SPLITS: Final = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_KEY: Final = re.compile(r"(x|y)(?:_(train|validation|valid|val|test))?(?:_(.+))?")
ArrayKeys = Mapping[str, str]
"""The name of an input or a target ("" where there is one alone) to the key of its array."""


class SourceTable(ABC):
    """Named arrays. ``where`` names the table in messages."""

    where: str

    @abstractmethod
    def keys(self) -> tuple[str, ...]:
        """The names of the arrays."""

    @abstractmethod
    def pool(self, x: ArrayKeys, y: ArrayKeys, spec: DataSpec) -> Pool:
        """The samples with these inputs and targets. Raises ``DataError``."""

    @abstractmethod
    def array(self, key: str) -> Any:
        """One array. Raises ``DataError``."""


class InMemoryTable(SourceTable):
    """A mapping of arrays in memory."""

    def __init__(self, arrays: Mapping[str, Any], where: str) -> None:
        self._arrays = arrays
        self.where = where

    def keys(self) -> tuple[str, ...]:
        return tuple(str(key) for key in self._arrays)

    def pool(self, x: ArrayKeys, y: ArrayKeys, spec: DataSpec) -> Pool:
        where = f"{self.where}: {', '.join((*x.values(), *y.values()))}"
        inputs, targets = ({name: self._arrays[key] for name, key in part.items()} for part in (x, y))
        found = targets if "" not in targets and targets else targets.get("")
        split = as_split(inputs.get("", inputs), found, where, ranks=spec.ranks, kind=spec.targets)
        return Held(split, where)

    def array(self, key: str) -> Any:
        return self._arrays[key]


@dataclass(frozen=True)
class _Columns:
    """The arrays of one split; ``word`` is what their names call it, such as ``val``."""

    word: str
    x: dict[str, str] = field(default_factory=dict)
    y: dict[str, str] = field(default_factory=dict)


def parts_of(table: SourceTable, spec: DataSpec) -> Parts:
    """The parts of a table. Raises ``DataError``."""
    keys = table.keys()
    classes = _names(table) if "classes" in keys else spec.classes
    found = {split: _ordered(table, columns, spec) for split, columns in _found(table).items()}
    if "" in found and found[""].x and "train" not in found:
        everything = table.pool(found[""].x, found[""].y, spec)
        _check_counting(everything, classes)
        train, test = divided(everything, spec, table.where, "samples")
        return Parts(spec.title, table.where, classes, train, None, test)
    kinds = ("x", "y") if any(columns.y for columns in found.values()) else ("x",)
    missing = [f"{kind}_{split}" for kind in kinds for split in ("test", "train") if split not in found]
    if missing:
        there = ", ".join(sorted(keys)) or "nothing"
        raise DataError(f"{table.where}: {', '.join(missing)} missing (found: {there}); {_NEEDED}")
    leader = found["train"]
    found.pop("", None)
    for columns in found.values():
        _check_counterparts(table, columns, leader)
    pools = {split: partial(table.pool, columns.x, columns.y, spec) for split, columns in found.items()}
    train = pools["train"]()
    _check_counting(train, classes)
    validation = pools["val"]() if "val" in pools else None
    separate = ("test",) if validation is None else ("validation", "test")
    return Parts(spec.title, table.where, classes, train, validation, pools["test"], separate=separate)


def _found(table: SourceTable) -> dict[str, _Columns]:
    """By split, "" where the names tell of none. Raises ``DataError`` for two validation splits."""
    found: dict[str, _Columns] = {}
    for key in table.keys():  # noqa: SIM118 - not a mapping
        match = _KEY.fullmatch(key)
        if match is None:
            continue
        kind, word, name = match[1], match[2] or "", match[3] or ""
        columns = found.setdefault(_SPLITS[word] if word else "", _Columns(word))
        if columns.word != word:
            raise DataError(
                f"{table.where}: x_{columns.word} and x_{word} are both validation samples; keep one of them"
            )
        (columns.x if kind == "x" else columns.y)[name] = key
    return found


def _check_counterparts(table: SourceTable, columns: _Columns, leader: _Columns) -> None:
    """Raises ``DataError`` where a split has not the arrays that the training split has."""
    for kind, own, wanted in (("x", columns.x, leader.x), ("y", columns.y, leader.y)):
        for name in wanted:
            if name not in own:
                raise DataError(f"{table.where}: {'_'.join(filter(None, (kind, columns.word, name)))} missing")
        for name, key in own.items():
            if name not in wanted:
                raise DataError(
                    f"{table.where}: {'_'.join(filter(None, (kind, leader.word, name)))} missing beside {key}"
                )


def _ordered(table: SourceTable, columns: _Columns, spec: DataSpec) -> _Columns:
    """The inputs in the order of the network's. Raises ``DataError`` where their names leave that open."""
    for own in (columns.x, columns.y):
        if "" in own and len(own) > 1:
            others = ", ".join(key for name, key in own.items() if name)
            raise DataError(f"{table.where}: {own['']} stands beside {others}; name each of several inputs or targets")
    if not spec.inputs or len(columns.x) < 2:
        return columns
    if set(columns.x) != set(spec.inputs):
        raise DataError(
            f"{table.where}: inputs {', '.join(columns.x)}, but the network's are {', '.join(spec.inputs)}; "
            "data.inputs names yours in the order of the network's"
        )
    return replace(columns, x={name: columns.x[name] for name in spec.inputs})


def _check_counting(train: Pool, classes: tuple[str, ...]) -> None:
    if not classes and train.strata is not None:
        refuse_counting_from_one(train.strata.numpy(), train.where)


def _names(table: SourceTable) -> tuple[str, ...]:
    names = np.asarray(table.array("classes"))
    if names.ndim != 1 or not 0 < len(names) <= LARGEST:
        raise DataError(f"{table.where}: classes must be a list of names, one per class, not {names.shape}")
    return tuple(str(name) for name in names.tolist())
