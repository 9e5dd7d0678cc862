"""Axes and attributes of ONNX operators, as torch's settings say them."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.errors import ExportError
from compressor.graph.onnx_out.builder import Operand


def unless(values: Sequence[int], default: int) -> list[int] | None:
    """None where every value is ONNX's default, which need not be written; the values otherwise."""
    return None if all(value == default for value in values) else [int(value) for value in values]


def per_axis(value: int | Sequence[int], axes: int) -> list[int]:
    """torch's "one for all axes or one per axis" as one per axis."""
    if isinstance(value, int):
        return [value] * axes
    values = [int(item) for item in value]
    return values * axes if len(values) == 1 else values


def sample_axis(dim: int, x: Operand) -> int:
    """A torch dimension as a positive axis. Raises ``ExportError`` for the batch dimension."""
    rank = x.rank
    axis = dim % rank
    if not -rank <= dim < rank or x.sizes[axis] < 0:
        raise ExportError(f"dimension {dim} of a value of rank {rank} is no axis of a sample")
    return axis
