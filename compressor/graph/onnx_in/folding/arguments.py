"""What a fold is, and how it reads what its operator was given.

A fold is a function of torch and its arguments. It runs on tensors without memory first, which gives the size of the
result: a small file cannot claim gigabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from compressor.errors import CaptureError

Operands = Sequence[Tensor | None]
Attributes = Mapping[str, Any]
Fold = tuple[Callable[..., Tensor], tuple[Any, ...]]
"""A function and its arguments; the tensors among them stand at the top level or in one list."""
Rule = Callable[[Operands, Attributes], Fold]
"""The fold of an operator with one result."""

MAX_FOLDED: Final = 2**31
"""Bytes of all folded constants of a file together: about 300 million one-bit weights with what lies between."""
TYPES_READ: Final[dict[int, torch.dtype]] = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
}
"""ONNX's numbers for the types of values that are read."""


def first_of(inputs: Operands) -> Tensor:
    if not inputs or inputs[0] is None:
        raise CaptureError("its first input is missing")
    return inputs[0]


def numbers(inputs: Operands, position: int, attributes: Attributes, name: str) -> list[int]:
    """Integers that are an input in newer operator sets and an attribute in older ones."""
    tensor = inputs[position] if position < len(inputs) else None
    values = attributes.get(name, []) if tensor is None else tensor.reshape(-1).tolist()
    return [int(value) for value in values]
