"""Class indices, as users have them; what is none is told apart, with what to do about it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from compressor.errors import DataError

LARGEST: Final = 1_000_000
"""A larger class index is no class index."""


def as_labels(array: NDArray[Any], where: str) -> NDArray[np.int64]:
    """Class indices ``(N,)``, from whole numbers or booleans ``(N,)`` or ``(N, 1)``. Raises ``DataError``."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise DataError(f"{where}: labels must be class indices (N,), not {_brief(array)}{_of_shape(array)}")
    if array.dtype.kind not in "uib":
        raise DataError(f"{where}: labels must be class indices (N,), not {_brief(array)}{_of_kind(array)}")
    if array.size and int(array.min()) < 0:
        raise DataError(
            f"{where}: class indices must not be negative, and the smallest is {int(array.min())}; "
            "leave out samples of unknown class"
        )
    if array.size and int(array.max()) > LARGEST:
        raise DataError(f"{where}: {int(array.max())} is no class index; they count from 0 to the number of classes")
    return np.ascontiguousarray(array, dtype=np.int64)


def refuse_counting_from_one(labels: NDArray[np.int64], where: str) -> None:
    """Raises ``DataError`` where the classes of a training split are 1…K, none left out."""
    found = np.unique(labels)
    if len(found) > 1 and found[0] == 1 and found[-1] == len(found):
        raise DataError(
            f"{where}: labels run from 1 to {found[-1]} and class 0 is empty; class indices count from 0: subtract one "
            f"(where the model has {found[-1] + 1} outputs, name them all in an array called classes)"
        )


def _of_shape(array: NDArray[Any]) -> str:
    if array.ndim == 2 and _is_one_hot(array):
        return ": they are one-hot; give their argmax(axis=1)"
    if array.ndim == 2 and array.dtype.kind in "uib":
        return ": several classes of one image are not supported; give one class index per image"
    if array.ndim >= 3:
        return ": one label per pixel (segmentation) is not supported; give one class index per image"
    return ": give one class index per image"


def _is_one_hot(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "uifb" and bool(((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all())


def _of_kind(array: NDArray[Any]) -> str:
    if array.dtype.kind == "f":
        if np.isfinite(array).all() and (array == np.rint(array)).all():
            return ": they are whole numbers; if they are classes, give y.astype(int)"
        return ": a number to be predicted (regression) is not supported; give class indices"
    if array.dtype.kind in "US":
        return ": they are text; number the classes from 0, and name them in an array called classes"
    return ": give whole numbers"


def _brief(array: NDArray[Any]) -> str:
    return f"{array.shape} of {array.dtype}"
