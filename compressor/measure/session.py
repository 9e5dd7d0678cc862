"""ONNX files in ONNX Runtime: what they take, and running them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from compressor.apart import batch_done
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

    def fed(self, array: NDArray[Any], title: str) -> NDArray[Any]:
        """``array`` in the type the file takes. Raises ``InputError`` where its sizes or values do not fit."""
        dtype = _DTYPES[self.dtype]
        if array.shape[1:] != self.shape or self.batch not in (None, len(array)):
            expected = (self.batch or "N", *self.shape)
            what = "images" if len(self.shape) == 3 else "values"
            raise InputError(
                f"{title}: input {self.name!r} takes {what} {_listed(expected)}, not {_listed(array.shape)}"
            )
        cast = array.astype(dtype, copy=False)
        if not np.issubdtype(dtype, np.floating) and not np.array_equal(cast, array):
            raise InputError(
                f"{title}: takes whole numbers ({np.dtype(dtype).name}) for {self.name!r}, and is given others: "
                "feed it pixels as they are"
            )
        return cast


class OnnxModel:
    """A loaded ONNX file; runs batches."""

    def __init__(self, model: bytes | Path, threads: int = 1) -> None:
        self.title = title_of(model)
        self.session = open_session(model, session_options(threads))
        self.inputs = tuple(_input_info(entry, self.title) for entry in self.session.get_inputs())
        self.outputs = tuple(str(entry.name) for entry in self.session.get_outputs())
        """Names, in order."""

    @property
    def input_shape(self) -> Shape:
        """Shape of one sample of the first input."""
        return self.inputs[0].shape

    @property
    def batch(self) -> int | None:
        """The batch size the file is fixed to, or None when any will do."""
        return next((entry.batch for entry in self.inputs if entry.batch is not None), None)

    def run(self, inputs: Any) -> tuple[NDArray[Any], ...]:
        """All outputs in order, for a tensor or array (N, \\*input_shape), or a tuple of them, one for each input.

        Raises ``InputError`` for what does not fit.
        """
        given = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
        if len(self.inputs) != len(given):
            names = ", ".join(entry.name for entry in self.inputs)
            raise InputError(f"{self.title}: takes {len(self.inputs)} inputs ({names}), not {len(given)}")
        feeds = {
            entry.name: entry.fed(_array(values), self.title) for entry, values in zip(self.inputs, given, strict=True)
        }
        batch_done()
        with running(self.title):
            return tuple(self.session.run(None, feeds))


def _array(values: Any) -> NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


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
