"""Arrays of a user's own, brought to the form of a split: samples first, then channels, then places."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from compressor.data.blocks import rows_per_block
from compressor.data.held import HeldSplit
from compressor.data.labels import Targets, as_list, as_target
from compressor.data.split import Target
from compressor.errors import DataError

_CHANNELS = (1, 2, 3, 4)


@dataclass(frozen=True)
class ArrayLayout:
    """How an array of samples is laid out, read from its shape and the ``rank`` of one sample that is wanted.

    Rank 3: images, whose channels may stand first or last, first where both could be. One dimension less than wanted
    is one channel. Rank 0: not known; ``(N, H, W)`` is then images of one channel, and anything else is what it is.
    Raises ``DataError`` that begins with ``where``.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    where: str
    rank: int = 0

    def __post_init__(self) -> None:
        if self.dtype.kind not in "uif":
            raise DataError(f"{self.where}: images must be uint8 or floating point, not {self.dtype}")
        given = len(self.shape) - 1
        if given < 0 or (self.rank and given not in (self.rank, self.rank - 1)):
            wanted = f"of {self.rank} dimensions" if self.rank else "samples (N, …)"
            raise DataError(f"{self.where}: the inputs are {self.shape}, and the network takes samples {wanted}")
        if 0 in self.shape:
            raise DataError(f"{self.where}: no samples (the images are {self.shape})")

    @property
    def _wanted(self) -> int:
        return self.rank or max(len(self.shape) - 1, 3 if len(self.shape) == 3 else 0)

    def images(self, array: NDArray[Any]) -> torch.Tensor:
        """Some samples of the array, uint8, float32 or int64, not copied where they are that already."""
        if array.ndim - 1 < self._wanted:
            array = array[:, None]
        elif self._wanted == 3 and self.shape[-1] in _CHANNELS and self.shape[1] not in _CHANNELS:
            array = array.transpose(0, 3, 1, 2)
        if self.dtype.kind == "f":
            return as_tensor(np.ascontiguousarray(self._floats(array)))
        if self._wanted < 2:
            return as_tensor(np.ascontiguousarray(array, dtype=np.int64))
        return as_tensor(np.ascontiguousarray(self._bytes(array)))

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


def as_split(images: Any, labels: Any, where: str, *, ranks: tuple[int, ...] = (), kind: Targets = "auto") -> HeldSplit:
    """A split from arrays or tensors. Several inputs come as a dictionary, several targets too; ``labels`` may be None,
    or one dictionary per sample. Raises ``DataError`` that begins with ``where``.
    """
    several = _several(images)
    target = None if kind == "none" else _targets(labels, where, kind)
    counts = {_length(target)} if target is not None else set()
    inputs = []
    for number, value in enumerate(several):
        pixels = _as_array(value, f"{where}: the images")
        if counts:
            check_counts(len(pixels) if pixels.ndim else 0, next(iter(counts)), where)
        counts.add(len(pixels) if pixels.ndim else 0)
        rank = ranks[number] if number < len(ranks) else 0
        inputs.append(ArrayLayout(pixels.shape, pixels.dtype, where, rank).images(pixels))
    if len(counts) > 1:
        raise DataError(f"{where}: inputs of {' and '.join(map(str, sorted(counts)))} samples")
    return HeldSplit(tuple(inputs) if len(inputs) > 1 else inputs[0], target)


def check_counts(images: int, labels: int, where: str) -> None:
    """Raises ``DataError`` where there are no samples, or not as many images as labels."""
    if images != labels:
        raise DataError(f"{where}: {images} images but {labels} labels")
    if images == 0:
        raise DataError(f"{where}: no samples")


def as_tensor(array: NDArray[Any]) -> torch.Tensor:
    """The array as a tensor that shares its memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an array that may not be written to: nobody does
        return torch.from_numpy(array)


def _targets(labels: Any, where: str, kind: Targets) -> Target:
    if labels is None:
        return None
    if isinstance(labels, Mapping):
        return {str(name): _targets(value, f"{where} ({name})", kind) for name, value in labels.items()}
    if isinstance(labels, list | tuple) and labels and isinstance(labels[0], Mapping):
        return as_list(labels, where)
    return as_tensor(as_target(_as_array(labels, f"{where}: the labels"), where, kind))


def _length(target: Target) -> int:
    return _length(next(iter(target.values()))) if isinstance(target, dict) else len(target)


def _as_array(value: Any, what: str) -> NDArray[Any]:
    if isinstance(value, torch.Tensor):
        plain = value.detach().cpu()
        return plain.float().numpy() if plain.dtype == torch.bfloat16 else plain.numpy()
    try:
        return np.asarray(value)
    except Exception as error:  # ragged lists, and objects of any kind
        raise DataError(f"{what} make no array ({' '.join(str(error).split())[:120]})") from None


def _several(images: Any) -> list[Any]:
    """Every input: those of a dictionary or a tuple of arrays, or the one. A list is one input, sample by sample."""
    if isinstance(images, Mapping):
        return list(images.values())
    if isinstance(images, tuple) and all(getattr(part, "ndim", 0) >= 1 for part in images):
        return list(images)
    return [images]
