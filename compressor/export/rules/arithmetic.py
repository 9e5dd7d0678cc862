"""Element-wise functions, comparisons and products."""

from __future__ import annotations

import math
from typing import Any

from compressor.errors import ExportError
from compressor.export.builder import GraphBuilder, Operand
from compressor.export.rules.call import Call, function
from compressor.graph.leaf import OnnxValue

BINARY = {
    "Add": ("add", "iadd"),
    "Sub": ("sub", "isub", "subtract"),
    "Mul": ("mul", "imul", "multiply"),
    "Div": ("div", "truediv", "itruediv", "true_divide", "divide"),
    "Pow": ("pow",),
    "Max": ("maximum",),
    "Min": ("minimum",),
    "Greater": ("gt",),
    "GreaterOrEqual": ("ge",),
    "Less": ("lt",),
    "LessOrEqual": ("le",),
    "Equal": ("eq",),
}
UNARY = {
    "Abs": "abs",
    "Neg": "neg",
    "Exp": "exp",
    "Log": "log",
    "Sqrt": "sqrt",
    "Reciprocal": "reciprocal",
    "Sign": "sign",
    "Floor": "floor",
    "Ceil": "ceil",
    "Round": "round",
    "Erf": "erf",
    "Sin": "sin",
    "Cos": "cos",
}


def tensor(b: GraphBuilder, value: Any) -> OnnxValue:
    """An argument that may be a tensor or a number, as a value."""
    if isinstance(value, Operand):
        return value.value
    if isinstance(value, bool | int | float):
        return b.scalar(float(value))
    raise ExportError(f"{value!r} is neither a tensor nor a known number")


def _binary(op_type: str) -> None:
    @function(*BINARY[op_type])
    def emit(b: GraphBuilder, call: Call) -> OnnxValue:
        left, right = call.argument(0, "input", "self"), call.argument(1, "other", "exponent")
        scaled = tensor(b, right)
        if (alpha := call.argument(2, "alpha", default=1)) != 1 and op_type in ("Add", "Sub"):
            scaled = b.op("Mul", [scaled, b.scalar(float(alpha))])
        value = b.op(op_type, [tensor(b, left), scaled])
        if op_type == "Div" and (rounding := call.argument(2, "rounding_mode")) is not None:
            if rounding != "floor":
                raise ExportError(f"division with rounding {rounding!r}")
            value = b.op("Floor", [value])
        return value


def _unary(op_type: str) -> None:
    @function(UNARY[op_type])
    def emit(b: GraphBuilder, call: Call) -> OnnxValue:
        return b.op(op_type, [call.operand().value])


for _name in BINARY:
    _binary(_name)
for _name in UNARY:
    _unary(_name)


@function("rsub")
def reversed_subtraction(b: GraphBuilder, call: Call) -> OnnxValue:
    if call.argument(2, "alpha", default=1) != 1:
        raise ExportError("rsub with alpha")
    return b.op("Sub", [tensor(b, call.argument(1, "other")), call.operand().value])


@function("ne")
def unequal(b: GraphBuilder, call: Call) -> OnnxValue:
    return b.op("Not", [b.op("Equal", [call.operand().value, tensor(b, call.argument(1, "other"))])])


@function("log1p")
def logarithm_above_one(b: GraphBuilder, call: Call) -> OnnxValue:
    return b.op("Log", [b.op("Add", [call.operand().value, b.scalar(1.0)])])


@function("square")
def square(b: GraphBuilder, call: Call) -> OnnxValue:
    x = call.operand().value
    return b.op("Mul", [x, x])


@function("rsqrt")
def inverse_root(b: GraphBuilder, call: Call) -> OnnxValue:
    return b.op("Reciprocal", [b.op("Sqrt", [call.operand().value])])


@function("clamp", "clip", "clamp_min", "clamp_max")
def clamp(b: GraphBuilder, call: Call) -> OnnxValue:
    low = None if call.name == "clamp_max" else call.argument(1, "min")
    high = call.argument(1, "max") if call.name == "clamp_max" else call.argument(2, "max")
    value = call.operand().value
    for op_type, bound in (("Max", low), ("Min", high)):
        if isinstance(bound, Operand):
            value = b.op(op_type, [value, bound.value])
            low, high = (None, high) if op_type == "Max" else (low, None)
    bounds = [None if bound is None else b.scalar(float(bound)) for bound in (low, high)]
    return value if bounds == [None, None] else b.op("Clip", [value, *bounds])


@function("where")
def where(b: GraphBuilder, call: Call) -> OnnxValue:
    choices = [tensor(b, call.argument(1, "input", "self")), tensor(b, call.argument(2, "other"))]
    return b.op("Where", [call.operand(0, "condition").value, *choices])


@function("masked_fill")
def masked_fill(b: GraphBuilder, call: Call) -> OnnxValue:
    fill = tensor(b, call.argument(2, "value"))
    return b.op("Where", [call.operand(1, "mask").value, fill, call.operand().value])


@function("matmul", "bmm", "mm")
def product(b: GraphBuilder, call: Call) -> OnnxValue:
    return b.op("MatMul", [call.operand().value, call.operand(1, "other", "mat2").value])


@function("scaled_dot_product_attention")
def attention(b: GraphBuilder, call: Call) -> OnnxValue:
    query, key, value = (call.operand(i, name) for i, name in enumerate(("query", "key", "value")))
    if call.argument(3, "attn_mask") is not None or call.argument(5, "is_causal", default=False):
        raise ExportError("attention with a mask")
    scale = call.argument(6, "scale") or 1 / math.sqrt(query.sample[-1])
    rank = len(key.sample) + 1
    turned = b.op("Transpose", [key.value], perm=[*range(rank - 2), rank - 1, rank - 2])
    scores = b.op("Mul", [b.op("MatMul", [query.value, turned]), b.scalar(float(scale))])
    return b.op("MatMul", [b.op("Softmax", [scores], axis=-1), value.value])
