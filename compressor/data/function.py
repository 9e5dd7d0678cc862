"""Data from a function of the user's own, called without arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.data.dataset import Data
from compressor.data.parts import Parts
from compressor.data.spec import DataSpec
from compressor.data.tables import Arrays, parts_of
from compressor.errors import DataError
from compressor.imported import call_function, import_function


def read_function(spec: DataSpec) -> Parts | Data:
    """What ``spec.function`` returns: a finished ``Data`` as it is, or a mapping with the arrays of an npz."""
    function = import_function(spec.function, "data.function")
    result = call_function(function, spec.function, "data.function")
    if isinstance(result, Data):
        return result
    if not isinstance(result, Mapping):
        raise DataError(f"data.function: {spec.function} returned {_kind(result)}; it must return a mapping or a Data")
    return parts_of(Arrays(result, spec.function), spec)


def _kind(result: Any) -> str:
    name = type(result).__name__
    if isinstance(result, tuple | list):
        return f"{name} of {len(result)}; name its arrays: {{'x_train': …, 'y_train': …, 'x_test': …, 'y_test': …}}"
    if hasattr(result, "__getitem__") or hasattr(result, "__iter__"):
        return f"{name}, which is not read sample by sample; put its samples into arrays"
    return name
