"""Data from a function of the user's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from compressor.data.called_apart import plain_arrays
from compressor.data.dataset import Data
from compressor.data.live import is_live
from compressor.data.live_parts import SPLITS, live_parts
from compressor.data.parts import Parts
from compressor.data.spec import DataSpec
from compressor.data.tables import InMemoryTable, parts_of
from compressor.errors import DataError
from compressor.imported import call_function, import_function
from compressor.present import LIVE, living

_USE = "data.function"


def read_function(spec: DataSpec) -> Parts | Data:
    """What ``spec.function`` returns, called without arguments: a finished ``Data`` as it is, a mapping with the arrays
    of an npz, or live objects: one of them, or one per split in a mapping or in a tuple (train, validation, test).

    A function that takes one argument is called with the name of each split, and returns a live object, or yields
    batches; None where it has no such split.
    """
    if spec.function == LIVE:
        data: Data = living("data")
        return data
    arrays = plain_arrays(lambda: _returned(spec.function), spec.function)
    if arrays is not None:
        return parts_of(InMemoryTable(arrays, spec.function), spec)
    function = import_function(spec.function, _USE)
    if _takes_split(function):
        return live_parts(_per_split(function, spec.function), spec, spec.function, name=spec.title)
    if inspect.isgeneratorfunction(function):
        raise DataError(
            f"{_USE}: {spec.function} yields batches and does not say of which split; let it take the name of the "
            f"split ({', '.join(SPLITS)}) as its one argument"
        )
    return parts_from(call_function(function, spec.function, _USE), spec, spec.function)


def _returned(reference: str) -> Any:
    """What the function returns where it is called without arguments; None for one that is asked otherwise."""
    function = import_function(reference, _USE)
    if _takes_split(function) or inspect.isgeneratorfunction(function):
        return None
    return call_function(function, reference, _USE)


def parts_from(result: Any, spec: DataSpec, where: str) -> Parts | Data:
    """The parts of a set from what a user hands over. Raises ``DataError``."""
    if isinstance(result, Data):
        return result
    if isinstance(result, Mapping) and any(map(is_live, result.values())):
        return live_parts(result, spec, where, name=spec.title)
    if isinstance(result, Mapping):
        return parts_of(InMemoryTable(result, where), spec)
    if isinstance(result, tuple | list) and 0 < len(result) <= len(SPLITS) and all(map(is_live, result)):
        return live_parts(_in_order(result), spec, where, name=spec.title)
    if is_live(result):
        return live_parts({"train": result}, spec, where, name=spec.title)
    raise DataError(
        f"{_USE}: {where} returned {_kind(result)}; it must return a mapping of arrays, a Dataset, a DataLoader, "
        "one of these per split, or a Data"
    )


def _in_order(splits: tuple[Any, ...] | list[Any]) -> dict[str, Any]:
    """Two are training and validation data, as everywhere in torch's world."""
    return dict(zip(SPLITS, splits, strict=False))


def _takes_split(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    needed = [p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(needed) == 1


def _per_split(function: Callable[..., Any], reference: str) -> dict[str, Any]:
    """What the function has of each split. One that yields is called anew for every pass."""
    if inspect.isgeneratorfunction(function):
        return {split: _Yielded(function, reference, split) for split in SPLITS}
    return {split: call_function(function, reference, _USE, split) for split in SPLITS}


class _Yielded:
    """The batches of one split, from the first one on whenever it is called."""

    def __init__(self, function: Callable[..., Any], reference: str, split: str) -> None:
        self._function = function
        self._reference = reference
        self._split = split

    def __call__(self) -> Any:
        return call_function(self._function, self._reference, _USE, self._split)


def _kind(result: Any) -> str:
    name = type(result).__name__
    if isinstance(result, tuple | list):
        return f"{name} of {len(result)}; name its arrays: {{'x_train': …, 'y_train': …, 'x_test': …, 'y_test': …}}"
    if hasattr(result, "__getitem__") and not hasattr(result, "__len__"):
        return f"{name}, which has [] and no len(), and a Dataset has both"
    return name
