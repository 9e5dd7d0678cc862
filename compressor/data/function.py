"""Data from a function of the user's own, called without arguments."""

from __future__ import annotations

from collections.abc import Mapping

from compressor.data.dataset import Data
from compressor.data.imported import import_function
from compressor.data.parts import Parts
from compressor.data.spec import DataSpec
from compressor.data.tables import parts_of
from compressor.errors import DataError


def read_function(spec: DataSpec) -> Parts | Data:
    """What ``spec.function`` returns: a finished ``Data`` as it is, or a mapping with the arrays of an npz."""
    function = import_function(spec.function, "data.function")
    result = function()
    if isinstance(result, Data):
        return result
    if not isinstance(result, Mapping):
        raise DataError(
            f"data.function: {spec.function} returned {type(result).__name__}; it must return a mapping or a Data"
        )
    return parts_of(lambda: result, spec, spec.function)
