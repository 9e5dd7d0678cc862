"""Arrays of a user's own, brought to the one form of a ``Split``: images (N, C, H, W), class indices (N,)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from compressor.data.dataset import Split
from compressor.data.labels import as_labels
from compressor.data.pool import rows_per_block
from compressor.errors import DataError

_CHANNELS = (1, 2, 3, 4)


@dataclass(frozen=True)
class Layout:
    """How an array of images is laid out, read from its shape: ``(N, H, W)`` is one channel; channels may stand first
    or last, first where both could be. Raises ``DataError`` that begins with ``where``.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    where: str

    def __post_init__(self) -> None:
        if self.dtype.kind not in "uif":
            raise DataError(f"{self.where}: images must be uint8 or floating point, not {self.dtype}")
        if len(self.shape) not in (3, 4):
            raise DataError(
                f"{self.where}: images must be (N, H, W), (N, C, H, W) or (N, H, W, C), not {self.shape}; "
                "signals, volumes and rows of numbers are not supported"
            )
        if 0 in self.shape:
            raise DataError(f"{self.where}: no samples (the images are {self.shape})")

    def images(self, array: NDArray[Any]) -> torch.Tensor:
        """Some samples of the array as ``(n, C, H, W)``, uint8 or float32, not copied where they are that already."""
        if array.ndim == 3:
            array = array[:, None]
        elif self.shape[-1] in _CHANNELS and self.shape[1] not in _CHANNELS:
            array = array.transpose(0, 3, 1, 2)
        return _tensor(np.ascontiguousarray(self._floats(array) if self.dtype.kind == "f" else self._bytes(array)))

    def _bytes(self, array: NDArray[Any]) -> NDArray[np.uint8]:
        if self.dtype != np.uint8 and (array.min() < 0 or array.max() > 255):
            raise DataError(
                f"{self.where}: whole-number images must lie in 0…255, not {array.min()}…{array.max()}; "
                "divide those of more bits by their white, as floating point"
            )
        return array.astype(np.uint8, copy=False)

    def _floats(self, array: NDArray[Any]) -> NDArray[np.float32]:
        with np.errstate(over="ignore"):
            floats = array.astype(np.float32, copy=False)
        step = rows_per_block(floats[:1].nbytes)
        if not all(np.isfinite(floats[start : start + step]).all() for start in range(0, len(floats), step)):
            raise DataError(f"{self.where}: the images hold values that are not finite")
        return floats


def as_split(images: Any, labels: Any, where: str) -> Split:
    """A split from two arrays or tensors. Raises ``DataError`` that begins with ``where``."""
    classes = as_labels(_as_array(labels, f"{where}: the labels"), where)
    _refuse_several_inputs(images, len(classes), where)
    pixels = _as_array(images, f"{where}: the images")
    check_counts(len(pixels) if pixels.ndim else 0, len(classes), where)
    return Split(Layout(pixels.shape, pixels.dtype, where).images(pixels), torch.from_numpy(classes))


def check_counts(images: int, labels: int, where: str) -> None:
    """Raises ``DataError`` where there are no samples, or not as many images as labels."""
    if images != labels:
        raise DataError(f"{where}: {images} images but {labels} labels")
    if images == 0:
        raise DataError(f"{where}: no samples")


def _as_array(value: Any, what: str) -> NDArray[Any]:
    if isinstance(value, torch.Tensor):
        plain = value.detach().cpu()
        return plain.float().numpy() if plain.dtype == torch.bfloat16 else plain.numpy()
    try:
        return np.asarray(value)
    except Exception as error:  # ragged lists, and objects of any kind
        raise DataError(f"{what} make no array ({' '.join(str(error).split())[:120]})") from None


def _refuse_several_inputs(images: Any, count: int, where: str) -> None:
    several = isinstance(images, dict) or (
        isinstance(images, list | tuple)
        and len(images) != count
        and all(getattr(part, "ndim", 0) >= 2 and len(part) == count for part in images)
    )
    if several:
        raise DataError(f"{where}: a {type(images).__name__} of {len(images)} inputs; one array of images is supported")


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an array that may not be written to: nobody does
        return torch.from_numpy(array)
