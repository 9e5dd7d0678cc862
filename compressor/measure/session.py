"""ONNX files in ONNX Runtime: what they take, and running them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from compressor.errors import InputError
from compressor.graph.leaf import Shape
from compressor.runtime import open_session, running, session_options, title_of

__all__ = ["InputInfo", "OnnxModel", "open_session", "running", "session_options"]

_DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


@dataclass(frozen=True)
class InputInfo:
    """One input of a file. ``batch`` is None where the first dimension is dynamic; ``shape`` is that of one sample."""

    name: str
    dtype: str
    batch: int | None
    shape: Shape


class OnnxModel:
    """A loaded ONNX file with one image input; runs batches."""

    def __init__(self, model: bytes | Path, threads: int = 1) -> None:
        self.title = title_of(model)
        self.session = open_session(model, session_options(threads))
        self.inputs = tuple(_input_info(entry, self.title) for entry in self.session.get_inputs())

    @property
    def input_shape(self) -> Shape:
        """Shape of one sample of the first input."""
        return self.inputs[0].shape

    @property
    def batch(self) -> int | None:
        """The batch size the file is fixed to, or None when any will do."""
        return self.inputs[0].batch

    def run(self, images: Tensor | NDArray[Any]) -> NDArray[Any]:
        """The first output for ``images`` (N, \\*input_shape). Raises ``InputError`` for images that do not fit."""
        array = images.detach().cpu().numpy() if isinstance(images, Tensor) else np.asarray(images)
        entry = self.inputs[0]
        if len(self.inputs) != 1:
            raise InputError(f"{self.title}: has {len(self.inputs)} inputs where one is expected")
        if array.shape[1:] != entry.shape or entry.batch not in (None, len(array)):
            expected = (entry.batch or "N", *entry.shape)
            raise InputError(f"{self.title}: takes images {_listed(expected)}, not {_listed(array.shape)}")
        with running(self.title):
            feeds = {entry.name: array.astype(_DTYPES[entry.dtype], copy=False)}
            result: NDArray[Any] = self.session.run(None, feeds)[0]
        return result


def _input_info(entry: Any, title: str) -> InputInfo:
    if entry.type not in _DTYPES:
        raise InputError(f"{title}: input {entry.name!r} is of type {entry.type}, which is not supported")
    if not entry.shape:
        raise InputError(f"{title}: input {entry.name!r} has no batch dimension")
    batch, *sizes = entry.shape
    if 0 in entry.shape:
        raise InputError(f"{title}: input {entry.name!r} has a dimension of size 0, so there is nothing to run on")
    for axis, size in enumerate(sizes, start=1):
        if not isinstance(size, int):
            raise InputError(
                f"{title}: dimension {axis} of input {entry.name!r} is open ({size}): export it with a size"
            )
    return InputInfo(entry.name, entry.type, batch if isinstance(batch, int) else None, tuple(sizes))


def _listed(sizes: tuple[Any, ...]) -> str:
    return "(" + ", ".join(map(str, sizes)) + ")"
