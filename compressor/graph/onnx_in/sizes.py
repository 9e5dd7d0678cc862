"""Sizes computed inside an ONNX graph (Shape → Gather → Concat → Reshape), followed as lists of integers.

The batch size is not known then; ``BATCH`` stands for it, and may be moved about but not calculated with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.errors import CaptureError
from compressor.graph.raising.program import BATCH

Sizes = list[int] | int
"""A vector of sizes, or a single one."""


def compute(operator: str, inputs: list[Sizes], attributes: Mapping[str, Any]) -> Sizes | None:
    """The sizes an operator makes of sizes; None for operators that are not about sizes."""
    match operator:
        case "Identity" | "Cast":
            return inputs[0]
        case "Gather":
            values = _vector(inputs[0])
            places = inputs[1]
            return values[places] if isinstance(places, int) else [values[place] for place in places]
        case "Unsqueeze":
            return [_single(inputs[0])]
        case "Squeeze":
            return _single(inputs[0])
        case "Concat":
            return [size for part in inputs for size in _vector(part)]
        case "Slice":
            return _slice(inputs, attributes)
        case "Add" | "Sub" | "Mul" | "Div":
            return _calculate(operator, inputs)
    return None


def _vector(sizes: Sizes) -> list[int]:
    return sizes if isinstance(sizes, list) else [sizes]


def _single(sizes: Sizes) -> int:
    values = _vector(sizes)
    if len(values) != 1:
        raise CaptureError("it takes several sizes for one")
    return values[0]


def _slice(inputs: list[Sizes], attributes: Mapping[str, Any]) -> list[int]:
    values = _vector(inputs[0])
    if len(inputs) > 1:
        start, end = _single(inputs[1]), _single(inputs[2])
        step = _single(inputs[4]) if len(inputs) > 4 else 1
    else:
        start, end, step = attributes["starts"][0], attributes["ends"][0], 1
    return values[start:end:step]


def _calculate(operator: str, inputs: list[Sizes]) -> Sizes:
    left, right = _vector(inputs[0]), _vector(inputs[1])
    if BATCH in left or BATCH in right:
        raise CaptureError("it calculates with the batch size")
    count = max(len(left), len(right))
    pairs = zip(left * (count // len(left)), right * (count // len(right)), strict=True)
    results = [_OPERATIONS[operator](a, b) for a, b in pairs]
    both_single = isinstance(inputs[0], int) and isinstance(inputs[1], int)
    return results[0] if both_single else results


_OPERATIONS = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a // b,
}
