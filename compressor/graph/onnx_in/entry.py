"""The input of an ONNX file: what it is called, of which type, and the shape of one sample."""

from __future__ import annotations

import re
from dataclasses import dataclass

import onnx

from compressor.errors import CaptureError
from compressor.graph.leaf import Shape
from compressor.graph.network import InputSpec
from compressor.graph.raising.assembly import safe_path

_TYPES = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.DOUBLE: "float64",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.INT8: "int8",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.INT64: "int64",
}
"""Types of inputs that are read, by NumPy's names. Numbers of all of them are floats in a network."""


@dataclass(frozen=True)
class Entry:
    """The one input of a file. ``batch`` is the batch size that the file fixes, None where it is open."""

    name: str
    dtype: str
    batch: int | None
    spec: InputSpec


def entry_of(graph: onnx.GraphProto, initializers: frozenset[str], given: Shape | None) -> Entry:
    """The input of a graph; ``given`` fills in the sizes that the file leaves open. Raises ``CaptureError``."""
    inputs = [value for value in graph.input if value.name not in initializers]
    if len(inputs) != 1:
        listed = ", ".join(value.name for value in inputs[:4]) + ("…" if len(inputs) > 4 else "")
        raise CaptureError(f"it takes {len(inputs)} inputs ({listed}), and a network takes one tensor")
    (value,) = inputs
    kind = value.type.tensor_type
    if kind.elem_type not in _TYPES:
        names = onnx.TensorProto.DataType
        text = names.Name(kind.elem_type) if kind.elem_type in names.values() else f"number {kind.elem_type}"
        raise CaptureError(f"its input {value.name!r} is of type {text}, and a network takes numbers")
    sizes: list[int | None] = [
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in kind.shape.dim
    ]
    if len(sizes) < 2 and not (given and not sizes):
        raise CaptureError(f"its input {value.name!r} has sizes {_text(kind)}: no batch of samples")
    batch = sizes[0] if sizes else None
    sample: list[int | None] = sizes[1:] if sizes else [None] * len(given or ())
    name = safe_path(re.sub(r"[^A-Za-z0-9_]", "_", value.name) or "input")
    spec = InputSpec(name if not name[0].isdigit() else f"_{name}", _filled(sample, given, value.name, _text(kind)))
    return Entry(value.name, _TYPES[kind.elem_type], batch, spec)


def _filled(sizes: list[int | None], given: Shape | None, name: str, text: str) -> Shape:
    if given is not None:
        fits = len(given) == len(sizes) and all(own in (None, size) for own, size in zip(sizes, given, strict=True))
        if not fits:
            asked = "x".join(map(str, given))
            raise CaptureError(f"its input {name!r} has sizes {text}, which --input {asked} does not fit")
        return tuple(given)
    if None in sizes:
        example = "x".join(str(size or 224) for size in sizes)
        raise CaptureError(
            f"its input {name!r} has open sizes {text}; give those of one sample, such as --input {example}"
        )
    return tuple(size for size in sizes if size is not None)


def _text(kind: onnx.TypeProto.Tensor) -> str:
    sizes = [str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "?" for dim in kind.shape.dim]
    return f"({', '.join(sizes)})"
