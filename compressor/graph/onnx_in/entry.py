"""The inputs of an ONNX file: what they are called, of which type, and the shapes of one sample."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import onnx
import torch
from torch import Tensor

from compressor.errors import CaptureError
from compressor.graph.given import Given
from compressor.graph.leaf import Shape
from compressor.graph.signature import TensorSpec

TYPES: Final[Mapping[int, str]] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.DOUBLE: "float64",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.INT8: "int8",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.BOOL: "bool",
}
"""Types of inputs that are read, by NumPy's names. Real numbers of all of them are float32 in a network."""


@dataclass(frozen=True)
class FileInput:
    """One input of a file. ``batch`` is the batch size that the file fixes, None where it is open."""

    name: str
    dtype: str
    batch: int | None
    spec: TensorSpec

    def fed(self, values: Tensor) -> Tensor:
        """What the file takes where the network takes ``values``."""
        kind: torch.dtype = getattr(torch, self.dtype)
        return values.to(kind)


def file_inputs(graph: onnx.GraphProto, initializers: frozenset[str], given: Sequence[Given]) -> tuple[FileInput, ...]:
    """The inputs of a graph; ``given`` fills in the sizes that the file leaves open. Raises ``CaptureError``."""
    values = _inputs(graph, initializers)
    wanted = _assigned([value.name for value in values], given)
    entries = tuple(_entries(values, wanted))
    fixed = {entry.batch for entry in entries} - {None}
    if len(fixed) > 1:
        raise CaptureError(f"its inputs are fixed to batches of {' and '.join(map(str, sorted(map(int, fixed))))}")  # type: ignore[arg-type]
    return entries


def _inputs(graph: onnx.GraphProto, initializers: Collection[str]) -> list[onnx.ValueInfoProto]:
    values = [value for value in graph.input if value.name not in initializers]
    if not values:
        raise CaptureError("it takes no input")
    return values


def refuse_batch_elsewhere(graph: onnx.GraphProto, initializers: Collection[str]) -> None:
    """The batch of one input, by its name, must be the first dimension of every other. Raises ``CaptureError``."""
    values = _inputs(graph, initializers)
    dims = {value.name: [dim.dim_param for dim in value.type.tensor_type.shape.dim] for value in values}
    batches = {sizes[0] for sizes in dims.values() if sizes and sizes[0]}
    for name, sizes in dims.items():
        for axis, size in enumerate(sizes[1:], start=1):
            if size in batches and not sizes[0]:
                raise CaptureError(f"the batch is dimension {axis} of its input {name!r}, where it must be the first")


def has_open_sizes(graph: onnx.GraphProto) -> bool:
    """Whether an input leaves a size of its samples open."""
    constants = {proto.name for proto in graph.initializer}
    shapes = [value.type.tensor_type.shape for value in graph.input if value.name not in constants]
    return any(not shape.dim or any(dim.dim_value <= 0 for dim in shape.dim[1:]) for shape in shapes)


def _assigned(names: list[str], given: Sequence[Given]) -> Mapping[str, Shape]:
    """Name of an input → the shape that was given for it."""
    unnamed = [one for one in given if not one.name]
    if unnamed and len(given) != len(names):
        raise CaptureError(
            f"it takes {len(names)} inputs ({', '.join(names[:4])}); say which one --input is for, "
            f"such as --input {names[0]}=3x32x32"
        )
    found = {one.name or name: one.shape for one, name in zip(given, names, strict=False)} if unnamed else {}
    found |= {one.name: one.shape for one in given if one.name}
    if strange := sorted(set(found) - set(names)):
        raise CaptureError(f"it has no input {strange[0]!r}; its inputs are {', '.join(names[:8])}")
    return found


def _entries(values: list[onnx.ValueInfoProto], wanted: Mapping[str, Shape]) -> Iterator[FileInput]:
    for value in values:
        kind = value.type.tensor_type
        if kind.elem_type not in TYPES:
            names = onnx.TensorProto.DataType
            text = names.Name(kind.elem_type) if kind.elem_type in names.values() else f"number {kind.elem_type}"
            raise CaptureError(f"its input {value.name!r} is of type {text}, and a network takes numbers")
        given = wanted.get(value.name)
        sizes: list[int | None] = [
            dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in kind.shape.dim
        ]
        if not sizes and not given:
            raise CaptureError(f"its input {value.name!r} has sizes {_text(kind)}: no batch of samples")
        sample: list[int | None] = sizes[1:] if sizes else [None] * len(given or ())
        dtype = TYPES[kind.elem_type]
        taken = torch.float32 if dtype.startswith("float") else getattr(torch, dtype)
        shape = _filled(sample, given, value.name, _text(kind))
        yield FileInput(value.name, dtype, sizes[0] if sizes else None, TensorSpec(value.name, shape, taken))


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
