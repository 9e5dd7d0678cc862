"""Element-wise functions, comparisons and flags."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from compressor.errors import ExportError
from compressor.export.rules.call import CallSite, function
from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_out.builder import GraphBuilder, Operand

BINARY = {
    "Add": ("add", "iadd"),
    "Sub": ("sub", "isub", "subtract"),
    "Mul": ("mul", "imul", "multiply"),
    "Div": ("div", "truediv", "itruediv", "true_divide", "divide"),
    "Pow": ("pow",),
    "Max": ("maximum", "fmax"),
    "Min": ("minimum", "fmin"),
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
    "Tan": "tan",
    "Asin": "asin",
    "Acos": "acos",
    "Atan": "atan",
    "Sinh": "sinh",
    "Cosh": "cosh",
    "Asinh": "asinh",
    "Acosh": "acosh",
    "Atanh": "atanh",
}


def tensor(b: GraphBuilder, value: Any) -> OnnxValue:
    """An argument that may be a tensor or a number, as real numbers."""
    if isinstance(value, Operand):
        return b.real(value)
    if isinstance(value, bool | int | float):
        return b.scalar(float(value))
    raise ExportError(f"{value!r} is neither a tensor nor a known number")


def _binary(op_type: str) -> None:
    @function(*BINARY[op_type])
    def emit(b: GraphBuilder, call: CallSite) -> OnnxValue:
        left, right = call.argument(0, "input", "self"), call.argument(1, "other", "exponent")
        scaled = tensor(b, right)
        if (alpha := call.argument(2, "alpha", default=1)) != 1 and op_type in ("Add", "Sub"):
            scaled = b.op("Mul", [scaled, b.scalar(float(alpha))])
        value = b.op(op_type, [tensor(b, left), scaled])
        if op_type == "Div" and (rounding := call.argument(2, "rounding_mode")) is not None:
            value = b.op("Floor", [value]) if rounding == "floor" else truncated(b, value)
        return as_kind(b, call, value)


def truncated(b: GraphBuilder, value: OnnxValue) -> OnnxValue:
    """Rounded towards zero."""
    return b.op("Mul", [b.op("Sign", [value]), b.op("Floor", [b.op("Abs", [value])])])


COMPARISONS = ("gt", "ge", "lt", "le", "eq", "ne")
_ONNX_KINDS = {torch.bool: 9, torch.uint8: 2, torch.int8: 3, torch.int16: 5, torch.int32: 6, torch.int64: 7}
"""torch's types that are no real numbers → ``TensorProto`` 's."""


def as_kind(b: GraphBuilder, call: CallSite, value: OnnxValue) -> OnnxValue:
    """Real numbers as the flags or whole numbers that torch answers with."""
    kind = call.node.meta.get("dtype")
    if kind is None or call.name in COMPARISONS:
        return value
    if kind not in _ONNX_KINDS:
        raise ExportError(f"values of the type {str(kind).removeprefix('torch.')}")
    return b.op("Cast", [value], to=_ONNX_KINDS[kind])


def _unary(op_type: str) -> None:
    @function(UNARY[op_type])
    def emit(b: GraphBuilder, call: CallSite) -> OnnxValue:
        return as_kind(b, call, b.op(op_type, [b.real(call.operand())]))


for _name in BINARY:
    _binary(_name)
for _name in UNARY:
    _unary(_name)


@function("rsub")
def reversed_subtraction(b: GraphBuilder, call: CallSite) -> OnnxValue:
    if call.argument(2, "alpha", default=1) != 1:
        raise ExportError("rsub with alpha")
    return b.op("Sub", [tensor(b, call.argument(1, "other")), b.real(call.operand())])


@function("ne")
def unequal(b: GraphBuilder, call: CallSite) -> OnnxValue:
    return b.op("Not", [b.op("Equal", [b.real(call.operand()), tensor(b, call.argument(1, "other"))])])


@function("log1p")
def logarithm_above_one(b: GraphBuilder, call: CallSite) -> OnnxValue:
    return b.op("Log", [b.op("Add", [call.operand().value, b.scalar(1.0)])])


@function("square")
def square(b: GraphBuilder, call: CallSite) -> OnnxValue:
    x = call.operand().value
    return b.op("Mul", [x, x])


@function("rsqrt")
def inverse_root(b: GraphBuilder, call: CallSite) -> OnnxValue:
    return b.op("Reciprocal", [b.op("Sqrt", [call.operand().value])])


@function("clamp", "clip", "clamp_min", "clamp_max")
def clamp(b: GraphBuilder, call: CallSite) -> OnnxValue:
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
def where(b: GraphBuilder, call: CallSite) -> OnnxValue:
    choices = [tensor(b, call.argument(1, "input", "self")), tensor(b, call.argument(2, "other"))]
    return b.op("Where", [call.operand(0, "condition").value, *choices])


@function("masked_fill")
def masked_fill(b: GraphBuilder, call: CallSite) -> OnnxValue:
    fill = tensor(b, call.argument(2, "value"))
    return b.op("Where", [call.operand(1, "mask").value, fill, b.real(call.operand())])


def _one(name: str, write: Callable[[GraphBuilder, OnnxValue], OnnxValue]) -> None:
    """An element-wise function of one tensor, written with several operators."""

    @function(name)
    def emit(b: GraphBuilder, call: CallSite) -> OnnxValue:
        return as_kind(b, call, write(b, b.real(call.operand())))


def _power_of(base: float) -> Callable[[GraphBuilder, OnnxValue], OnnxValue]:
    return lambda b, x: b.op("Pow", [b.scalar(base), x])


def _logarithm(base: float) -> Callable[[GraphBuilder, OnnxValue], OnnxValue]:
    return lambda b, x: b.op("Mul", [b.op("Log", [x]), b.scalar(1 / math.log(base))])


_one("trunc", truncated)
_one("frac", lambda b, x: b.op("Sub", [x, truncated(b, x)]))
_one("log2", _logarithm(2))
_one("log10", _logarithm(10))
_one("exp2", _power_of(2.0))
_one("expm1", lambda b, x: b.op("Sub", [b.op("Exp", [x]), b.scalar(1.0)]))
_one("erfc", lambda b, x: b.op("Sub", [b.scalar(1.0), b.op("Erf", [x])]))
_one("sgn", lambda b, x: b.op("Sign", [x]))
_one("positive", lambda b, x: x)
_one("isnan", lambda b, x: b.op("IsNaN", [x]))
_one("isinf", lambda b, x: b.op("IsInf", [x]))


@function("nan_to_num")
def without_nan(b: GraphBuilder, call: CallSite) -> OnnxValue:
    x = b.real(call.operand())
    fill, high, low = (call.argument(i, n) for i, n in ((1, "nan"), (2, "posinf"), (3, "neginf")))
    largest = torch.finfo(torch.float32).max
    value = b.op("Where", [b.op("IsNaN", [x]), b.scalar(float(fill or 0)), x])
    for bound, sign in ((high, 1.0), (low, -1.0)):
        put = b.scalar(sign * largest if bound is None else float(bound))
        infinite = b.op("IsInf", [value], detect_positive=int(sign > 0), detect_negative=int(sign < 0))
        value = b.op("Where", [infinite, put, value])
    return value


@function("floor_divide", "floordiv", "remainder", "mod", "fmod")
def division_with_rest(b: GraphBuilder, call: CallSite) -> OnnxValue:
    """``remainder`` has the sign of the divisor, ``fmod`` that of the dividend."""
    left, right = tensor(b, call.argument(0, "input", "self")), tensor(b, call.argument(1, "other"))
    ratio = b.op("Div", [left, right])
    whole = truncated(b, ratio) if call.name == "fmod" else b.op("Floor", [ratio])
    if call.name not in ("floor_divide", "floordiv"):
        whole = b.op("Sub", [left, b.op("Mul", [whole, right])])
    return as_kind(b, call, whole)


@function("addcmul", "addcdiv")
def scaled_addition(b: GraphBuilder, call: CallSite) -> OnnxValue:
    first, left, right = (b.real(call.operand(i, n)) for i, n in ((0, "input"), (1, "tensor1"), (2, "tensor2")))
    value = b.op("Mul" if call.name == "addcmul" else "Div", [left, right])
    if (factor := call.argument(3, "value", default=1)) != 1:
        value = b.op("Mul", [value, b.scalar(float(factor))])
    return b.op("Add", [first, value])


@function("lerp")
def interpolation(b: GraphBuilder, call: CallSite) -> OnnxValue:
    start, end = b.real(call.operand()), b.real(call.operand(1, "end"))
    return b.op("Add", [start, b.op("Mul", [b.op("Sub", [end, start]), tensor(b, call.argument(2, "weight"))])])


# --- flags -------------------------------------------------------------------------------------------------------

LOGICAL = {"and": "And", "or": "Or", "xor": "Xor"}


def flags(b: GraphBuilder, operand: Operand) -> OnnxValue:
    """Flags as they are; of numbers, whether they are other than zero."""
    return operand.value if operand.kind is torch.bool else b.op("Cast", [operand.value], to=_ONNX_KINDS[torch.bool])


@function(*(f"{kind}_{name}" for kind in ("logical", "bitwise") for name in LOGICAL), *LOGICAL)
def logical(b: GraphBuilder, call: CallSite) -> OnnxValue:
    left, right = call.operand(), call.operand(1, "other")
    if not call.name.startswith("logical") and (left.kind, right.kind) != (torch.bool, torch.bool):
        raise ExportError(f"{call.name} of numbers")
    return b.op(LOGICAL[call.name.rpartition("_")[2]], [flags(b, left), flags(b, right)])


@function("logical_not", "bitwise_not", "invert")
def negation(b: GraphBuilder, call: CallSite) -> OnnxValue:
    operand = call.operand()
    if call.name != "logical_not" and operand.kind is not torch.bool:
        raise ExportError(f"{call.name} of numbers")
    return b.op("Not", [flags(b, operand)])
