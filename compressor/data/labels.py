"""What is to be learned of each sample, as users have it: class indices, numbers, maps, boxes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from compressor.errors import DataError
from compressor.graph.nested import value_in_words

Targets = Literal["auto", "classes", "numbers", "none"]
"""``classes``: class indices. ``numbers``: values as they are. ``none``: there is nothing to learn. ``auto``: whole
numbers ``(N,)`` are class indices, everything else is what it is."""
LARGEST: Final = 1_000_000
"""A larger class index is no class index."""


def as_target(array: NDArray[Any], where: str, kind: Targets = "auto") -> NDArray[Any]:
    """Targets ``(N, …)``: class indices as int64; other whole numbers as uint8, int16 or int64, floating point as
    float32, as little of it as holds the values. Raises ``DataError``.
    """
    if kind == "classes" or (kind == "auto" and _may_be_classes(array)):
        return as_labels(array, where)
    if array.dtype.kind not in "uifb" or array.ndim == 0:
        raise DataError(f"{where}: targets must be numbers (N, …), not {_brief(array)}{_of_kind(array)}")
    if array.dtype.kind == "f":
        floats = array.astype(np.float32, copy=False)
        if not np.isfinite(floats).all():
            raise DataError(f"{where}: the targets hold values that are not finite")
        return np.ascontiguousarray(floats)
    if kind == "numbers" and array.ndim <= 2:
        return np.ascontiguousarray(array, dtype=np.float32)
    return np.ascontiguousarray(array, dtype=stored_type(array.dtype))


def class_indices(target: Any) -> torch.Tensor:
    """``target`` itself where it is class indices ``(N,)``, int64; else raises ``DataError``."""
    if not isinstance(target, torch.Tensor) or target.ndim != 1 or target.dtype != torch.int64:
        raise DataError(f"the targets are {value_in_words(target)}, and no class indices (N,)")
    return target


def stored_type(dtype: np.dtype[Any]) -> type[Any]:
    """What numbers of a type are kept as."""
    if dtype.kind == "f":
        return np.float32
    if dtype.kind == "b":
        return np.bool_
    return np.uint8 if dtype == np.uint8 else np.int16 if dtype in (np.int8, np.int16) else np.int64


def as_list(values: list[Any] | tuple[Any, ...], where: str) -> list[dict[str, torch.Tensor]]:
    """Dictionaries of arrays, one per sample, such as ``{"boxes": (k, 4), "labels": (k,)}``. Raises ``DataError``."""
    found: list[dict[str, torch.Tensor]] = []
    for number, entry in enumerate(values):
        if not isinstance(entry, Mapping):
            raise DataError(f"{where}: target {number} is {type(entry).__name__}, the ones before are dictionaries")
        try:
            tensors = {str(key): torch.as_tensor(np.asarray(value)) for key, value in entry.items()}
        except Exception as error:  # whatever a user puts into a dictionary
            reason = " ".join(str(error).split())[:120]
            raise DataError(f"{where}: target {number} makes no arrays ({reason})") from None
        if found and tensors.keys() != found[0].keys():
            raise DataError(f"{where}: target {number} has {', '.join(tensors)}, the first {', '.join(found[0])}")
        found.append(tensors)
    return found


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
            'leave out samples of unknown class (numbers to be predicted go with data.targets = "numbers")'
        )
    if array.size and int(array.max()) > LARGEST:
        raise DataError(
            f"{where}: {int(array.max())} is no class index; they count from 0 to the number of classes "
            '(numbers to be predicted go with data.targets = "numbers")'
        )
    return np.ascontiguousarray(array, dtype=np.int64)


def refuse_counting_from_one(labels: NDArray[np.int64], where: str) -> None:
    """Raises ``DataError`` where the classes of a training split are 1…K, none left out."""
    found = np.unique(labels)
    if len(found) > 1 and found[0] == 1 and found[-1] == len(found):
        raise DataError(
            f"{where}: labels run from 1 to {found[-1]} and class 0 is empty; class indices count from 0: subtract one "
            f"(where the model has {found[-1] + 1} outputs, name them all in an array called classes; numbers to be "
            'predicted go with data.targets = "numbers")'
        )


def _may_be_classes(array: NDArray[Any]) -> bool:
    """Whether it is class indices, or what is often meant as such and leads astray."""
    plain = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if plain.ndim == 1 and plain.dtype.kind == "f":
        return bool(plain.size and np.isfinite(plain).all() and (plain == np.rint(plain)).all())
    return (plain.ndim == 1) or (array.ndim == 2 and array.shape[1] > 1 and _is_one_hot(array))


def _of_shape(array: NDArray[Any]) -> str:
    if array.ndim == 2 and _is_one_hot(array):
        return ': they are one-hot; give their argmax(axis=1) (data.targets = "numbers" takes them as they are)'
    return ": give one class index per sample"


def _is_one_hot(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "uifb" and bool(((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all())


def _of_kind(array: NDArray[Any]) -> str:
    if array.dtype.kind == "f":
        if np.isfinite(array).all() and (array == np.rint(array)).all():
            return (
                ": they are whole numbers; if they are classes, give y.astype(int), "
                'if they are numbers to be predicted, say data.targets = "numbers"'
            )
        return ": they are numbers; give class indices"
    if array.dtype.kind in "US":
        return ": they are text; number the classes from 0, and name them in an array called classes"
    return ": give whole numbers"


def _brief(array: NDArray[Any]) -> str:
    return f"{array.shape} of {array.dtype}"
