"""Arrays of a user's own, brought to the one form of a ``Split``: images (N, C, H, W), class indices (N,)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from compressor.data.dataset import Split
from compressor.errors import DataError

_CHANNELS = (1, 2, 3, 4)


def as_split(images: Any, labels: Any, where: str) -> Split:
    """A split from two arrays or tensors. Raises ``DataError`` that begins with ``where``."""
    pixels = _as_images(_as_array(images), where)
    classes = _as_labels(_as_array(labels), where)
    if len(pixels) != len(classes):
        raise DataError(f"{where}: {len(pixels)} images but {len(classes)} labels")
    if len(pixels) == 0:
        raise DataError(f"{where}: no samples")
    return Split(torch.from_numpy(pixels), torch.from_numpy(classes))


def class_names(given: Any, labels: torch.Tensor) -> tuple[str, ...]:
    """The given names, else the indices ``0 … largest label`` as text."""
    if given is not None:
        return tuple(str(name) for name in given)
    return tuple(str(index) for index in range(int(labels.max()) + 1))


def _as_array(value: Any) -> NDArray[Any]:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def _as_images(array: NDArray[Any], where: str) -> NDArray[Any]:
    """``(N, H, W)`` is one channel; channels may stand first or last, first where both could be."""
    if array.dtype == bool or array.dtype.kind not in "uif":
        raise DataError(f"{where}: images must be uint8 or floating point, not {array.dtype}")
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim != 4:
        raise DataError(f"{where}: images must be (N, H, W), (N, C, H, W) or (N, H, W, C), not {array.shape}")
    elif array.shape[-1] in _CHANNELS and array.shape[1] not in _CHANNELS:
        array = array.transpose(0, 3, 1, 2)
    if array.dtype.kind in "ui":
        if array.size and (array.min() < 0 or array.max() > 255):
            raise DataError(f"{where}: whole-number images must lie in 0…255")
        array = array.astype(np.uint8)
    else:
        array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise DataError(f"{where}: the images hold values that are not finite")
    return _owned(array)


def _as_labels(array: NDArray[Any], where: str) -> NDArray[np.int64]:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "ui":
        raise DataError(f"{where}: labels must be class indices (N,), not {array.shape} of {array.dtype}")
    if array.size and array.min() < 0:
        raise DataError(f"{where}: class indices must not be negative")
    return _owned(array.astype(np.int64))


def _owned(array: NDArray[Any]) -> NDArray[Any]:
    """Contiguous and writable, as tensors that share memory want it."""
    return np.require(array, requirements=["C", "W", "O"])
