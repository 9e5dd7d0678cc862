"""Quantized values: a network holds the numbers they stand for, and notes how they were quantized."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx
import torch
from torch import Tensor

from compressor.errors import CaptureError

MOVES = frozenset(
    {
        "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Resize", "Slice",
        "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Upsample",
    }
)  # fmt: skip
"""Operators that only move values about, or pick some of them: they do not care what bytes stand for."""
AWARE = frozenset(
    {
        "DequantizeLinear", "QGemm", "QLinearAdd", "QLinearAveragePool", "QLinearConcat", "QLinearConv",
        "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearMatMul", "QLinearMul", "QLinearSigmoid",
        "QLinearSoftmax",
    }
)  # fmt: skip
"""Operators that say how what they take is quantized."""

BOUNDS = {torch.uint8: (0, 255), torch.int8: (-128, 127), torch.int32: (-32768, 32767)}
"""Of the bytes that a zero point of this type goes with; 16-bit ones are held in 32."""


@dataclass(frozen=True)
class Quantity:
    """Whole numbers q in ``low`` … ``high`` that stand for (q − zero) · scale."""

    scale: float
    zero: int
    low: int
    high: int


def quantity(scale: Tensor, zero: Tensor | None) -> Quantity:
    """One scale and one zero point for a whole tensor. Raises ``CaptureError`` for several."""
    if scale.numel() != 1 or (zero is not None and zero.numel() != 1):
        raise CaptureError("a scale per channel of computed values")
    kind = torch.uint8 if zero is None else zero.dtype
    if kind not in BOUNDS:
        raise CaptureError(f"values quantized to {kind}")
    number = float(scale.item())
    if not number > 0:
        raise CaptureError(f"a scale of {number}")
    return Quantity(number, 0 if zero is None else int(zero.item()), *BOUNDS[kind])


_BYTES = {onnx.TensorProto.INT8, onnx.TensorProto.UINT8, onnx.TensorProto.INT4, onnx.TensorProto.UINT4}


def about_weights(graph: onnx.GraphProto) -> tuple[str, ...]:
    """What a user should know of weights that the file holds as integers, if there are any."""
    held = {proto.name: math.prod(proto.dims) for proto in graph.initializer if proto.data_type in _BYTES}
    weights = {name for node in graph.node if node.op_type in AWARE for name in node.input if held.get(name, 1) > 1}
    if not weights:
        return ()
    count = sum(held[name] for name in weights)
    return (
        f"the file holds {count:,} weights as integers; here they are floats of the same values, and are written as "
        "floats, in several times the bytes, until a plugin that quantizes makes integers of them again",
    )
