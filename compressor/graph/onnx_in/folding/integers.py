"""Integers of a file as the floats they stand for: (q − zero) · scale."""

from __future__ import annotations

from torch import Tensor

from compressor.errors import CaptureError
from compressor.graph.onnx_in.folding.arguments import Attributes, Fold, Operands, Rule, first_of


def _dequantize(inputs: Operands, attributes: Attributes) -> Fold:
    """(q − zero) · scale: one number for all, one per slice along an axis, or one per block of an axis."""
    x, scale = first_of(inputs), inputs[1]
    zero = inputs[2] if len(inputs) > 2 else None
    axis, block = attributes.get("axis", 1), attributes.get("block_size", 0)
    if scale is None:
        raise CaptureError("its scale is missing")
    if not block and scale.dim() == 1 and scale.numel() > 1:
        shape = [1] * x.dim()
        shape[axis] = -1
        scale, zero = scale.reshape(shape), None if zero is None else zero.reshape(shape)
    return _float_of, (x, scale, zero, axis % max(x.dim(), 1), block)


def _float_of(x: Tensor, scale: Tensor, zero: Tensor | None, axis: int, block: int) -> Tensor:
    if block:
        spread = [None if t is None else t.repeat_interleave(block, axis) for t in (scale, zero)]
        parts = [None if t is None else t.narrow(axis, 0, x.shape[axis]) for t in spread]
        scale, zero = (scale if parts[0] is None else parts[0]), parts[1]
    return (x.float() if zero is None else x.float() - zero.float()) * scale.float()


FOLDS: dict[str, Rule] = {"DequantizeLinear": _dequantize}
