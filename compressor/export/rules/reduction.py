"""Reductions over axes of a sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from compressor.errors import ExportError
from compressor.export.rules.call import CallSite, function
from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_out.axes import sample_axis
from compressor.graph.onnx_out.builder import GraphBuilder, Operand

REDUCTIONS = {
    "mean": "ReduceMean",
    "sum": "ReduceSum",
    "amax": "ReduceMax",
    "amin": "ReduceMin",
    "prod": "ReduceProd",
    "logsumexp": "ReduceLogSumExp",
}


def sample_axes(given: Any, x: Operand) -> list[int]:
    """One or several torch dimensions as positive axes. Raises ``ExportError`` when the batch is among them."""
    if given is None or (isinstance(given, Sequence) and not given):
        raise ExportError("a reduction over the batch")
    return sorted(sample_axis(dim, x) for dim in ([given] if isinstance(given, int) else given))


@function(*REDUCTIONS)
def reduction(b: GraphBuilder, call: CallSite) -> OnnxValue:
    """Over the last two axes of an image, a mean is a global pooling, which runs faster."""
    x = call.operand()
    axes = sample_axes(call.argument(1, "dim", "axis"), x)
    keep = bool(call.argument(2, "keepdim", default=False))
    x = Operand(b.real(x), x.shape)
    if call.name == "mean" and axes == [2, 3] and len(x.sample) == 3:
        pooled = b.op("GlobalAveragePool", [x.value])
        return pooled if keep else b.op("Flatten", [pooled], axis=1)
    return b.op(REDUCTIONS[call.name], [x.value, b.integers(axes)], keepdims=keep)


@function("linalg_vector_norm")
def vector_norm(b: GraphBuilder, call: CallSite) -> OnnxValue:
    x, order = call.operand(), call.argument(1, "ord", default=2)
    axes = sample_axes(call.argument(2, "dim"), x)
    keep = bool(call.argument(3, "keepdim"))
    if order in (math.inf, -math.inf):
        kind = "ReduceMax" if order > 0 else "ReduceMin"
        return b.op(kind, [b.op("Abs", [x.value]), b.integers(axes)], keepdims=keep)
    if order in (1, 2):
        return b.op(f"ReduceL{int(order)}", [x.value, b.integers(axes)], keepdims=keep)
    if order == 0:
        raise ExportError("a norm of order 0")
    powers = b.op("Pow", [b.op("Abs", [x.value]), b.scalar(float(order))])
    total = b.op("ReduceSum", [powers, b.integers(axes)], keepdims=keep)
    return b.op("Pow", [total, b.scalar(1 / order)])


@function("var", "std")
def variance(b: GraphBuilder, call: CallSite) -> OnnxValue:
    return _spread_about(b, call)[0]


@function("var_mean", "std_mean")
def variance_and_mean(b: GraphBuilder, call: CallSite) -> list[OnnxValue]:
    return list(_spread_about(b, call))


def _spread_about(b: GraphBuilder, call: CallSite) -> tuple[OnnxValue, OnnxValue]:
    """Mean square distance from the mean, times n / (n − correction); and the mean."""
    x = call.operand()
    axes = sample_axes(call.argument(1, "dim"), x)
    correction = call.argument(2, "unbiased", "correction", default=1)
    correction = 1 if correction is None else int(correction)
    keep = bool(call.node.kwargs.get("keepdim", call.argument(3, default=False)))
    count = math.prod(x.sizes[axis] for axis in axes)
    if count <= correction:
        raise ExportError(f"a variance of {count} values with correction {correction}")
    mean = b.op("ReduceMean", [x.value, b.integers(axes)], keepdims=True)
    centred = b.op("Sub", [x.value, mean])
    spread = b.op("ReduceMean", [b.op("Mul", [centred, centred]), b.integers(axes)], keepdims=keep)
    if correction:
        spread = b.op("Mul", [spread, b.scalar(count / (count - correction))])
    mean = mean if keep else b.op("Squeeze", [mean, b.integers(axes)])
    return (b.op("Sqrt", [spread]) if call.name.startswith("std") else spread), mean


@function("max", "min")
def extreme(b: GraphBuilder, call: CallSite) -> OnnxValue | list[OnnxValue]:
    """Of two tensors, or over one axis: then with the places."""
    x, name, other = call.operand(), call.name.capitalize(), call.argument(1, "dim", "other")
    if isinstance(other, Operand):
        return b.op(name, [x.value, other.value])
    (axis,) = sample_axes(other, x)
    keep = bool(call.argument(2, "keepdim", default=False))
    values = b.op(f"Reduce{name}", [x.value, b.integers([axis])], keepdims=keep)
    if len(call.node.users) == 1 and next(iter(call.node.users)).args[1:] == (0,):
        return [values]
    return [values, b.op(f"Arg{name}", [x.value], axis=axis, keepdims=keep)]
