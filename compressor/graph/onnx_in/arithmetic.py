"""ONNX arithmetic: value by value, and choices between values."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from compressor.errors import CaptureError
from compressor.graph.onnx_in.rules import rule
from compressor.graph.onnx_node.node import Node

aten = torch.ops.aten

_BINARY: dict[str, Callable[..., Any]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Div": operator.truediv,
}
_EXTREMES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "Max": (aten.maximum.default, aten.clamp_min.default),
    "Min": (aten.minimum.default, aten.clamp_max.default),
}
_UNARY: dict[str, Callable[..., Any]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "Log": torch.log,
    "Neg": torch.neg,
    "Reciprocal": torch.reciprocal,
    "Round": torch.round,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
}
_COMPARISONS = {
    "Equal": ("eq", "eq"),
    "Greater": ("gt", "lt"),
    "GreaterOrEqual": ("ge", "le"),
    "Less": ("lt", "gt"),
    "LessOrEqual": ("le", "ge"),
}
"""torch's names, as written and with the sides exchanged."""


@rule(*_BINARY)
def arithmetic(node: Node) -> fx.Node:
    return node.apply(_BINARY[node.operator], *_operands(node))


def _operands(node: Node) -> list[Any]:
    values = [at for at, name in enumerate(node.inputs) if name in node.state.nodes]
    if any(node.tensor(at).meta.get("flags") for at in values):
        raise CaptureError("it calculates with the answers of a comparison, which are no numbers")
    rank = max(len(node.sample(at)) + 1 for at in values)
    batch = node.batch_axis(values[0])
    if batch and any(len(node.sample(at)) + 1 != rank for at in values):
        raise CaptureError("operands of different ranks, whose batch is not the first dimension")
    return [node.aligned(at, rank, batch) for at in range(len(node.inputs))]


@rule("Sum", "Mean", "Max", "Min")
def of_several(node: Node) -> fx.Node:
    """Of any number of operands, from the left; numbers among them come last."""
    operands = sorted(_operands(node), key=lambda item: not isinstance(item, fx.Node))
    total, *rest = operands
    for item in rest:
        if node.operator in ("Sum", "Mean"):
            total = node.apply(operator.add, total, item)
        else:
            of_tensors, of_number = _EXTREMES[node.operator]
            total = node.apply(of_tensors if isinstance(item, fx.Node) else of_number, total, item)
    if not isinstance(total, fx.Node):
        raise CaptureError("it takes no computed value")
    return node.apply(operator.truediv, total, len(operands)) if node.operator == "Mean" and rest else total


@rule(*_UNARY)
def unary(node: Node) -> fx.Node:
    return node.apply(_UNARY[node.operator], node.tensor())


@rule("Pow")
def power(node: Node) -> fx.Node:
    base, exponent = _operands(node)
    if isinstance(base, fx.Node) and not isinstance(exponent, fx.Node):
        return node.apply(torch.pow, base, exponent)
    overload = aten.pow.Tensor_Tensor if isinstance(base, fx.Node) else aten.pow.Scalar
    return node.apply(overload, base, exponent)


@rule("Identity")
def identity(node: Node) -> fx.Node:
    return node.tensor()


@rule("Cast", "CastLike")
def cast(node: Node) -> fx.Node:
    """Floats stay what they are, at the precision of the network; answers of a comparison become 0 and 1."""
    value = node.tensor()
    to = node.attributes.get("to", 1 if node.operator == "CastLike" else None)
    flags = value.meta.get("flags")
    if to == 9:
        return value if flags else _flagged(node.apply(aten.ne.Scalar, value, 0.0))
    real = to in (1, 10, 11, 16)
    if flags or (real and "dtype" in value.meta):
        return node.apply(aten.to.dtype, value, torch.float32)
    if real or value.meta.get("whole") or "dtype" in value.meta:
        return value
    raise CaptureError("a conversion to whole numbers")


# --- comparisons ---------------------------------------------------------------------------------------------------


def _flagged(value: fx.Node) -> fx.Node:
    value.meta["flags"] = True
    return value


@rule(*_COMPARISONS)
def comparison(node: Node) -> fx.Node:
    left, right = _operands(node)
    straight, exchanged = _COMPARISONS[node.operator]
    if not isinstance(left, fx.Node):
        left, right, straight = right, left, exchanged
    kind = "Tensor" if isinstance(right, fx.Node) else "Scalar"
    return _flagged(node.apply(getattr(getattr(aten, straight), kind), left, right))


@rule("And", "Or", "Xor", "Not")
def logic(node: Node) -> fx.Node:
    values = [node.tensor(at) for at in range(len(node.inputs))]
    function = getattr(aten, f"logical_{node.operator.lower()}").default
    return _flagged(node.apply(function, *values))


@rule("Where")
def choice(node: Node) -> fx.Node:
    """Numbers are chosen by arithmetic, which is exact for 0 and 1; tensors by torch's function."""
    flags = node.tensor()
    if not flags.meta.get("flags"):
        raise CaptureError("a choice by what is no comparison")
    yes, no = (node.state.operand(name) for name in node.inputs[1:3])
    if not isinstance(yes, fx.Node) and not isinstance(no, fx.Node):
        chosen = node.apply(aten.to.dtype, flags, torch.float32)
        chosen = chosen if yes - no == 1 else node.apply(operator.mul, chosen, float(yes - no))
        return node.apply(operator.add, chosen, float(no)) if no else chosen
    if isinstance(yes, fx.Node) and not isinstance(no, fx.Node):
        return node.apply(aten.where.ScalarOther, flags, yes, float(no))
    if not isinstance(yes, fx.Node):
        return node.apply(aten.where.ScalarSelf, flags, float(yes), no)
    return node.apply(aten.where.self, flags, yes, no)
