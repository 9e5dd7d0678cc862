"""Element by element."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable

import torch
from torch import Tensor

from compressor.errors import CaptureError
from compressor.graph.onnx_in.folding.arguments import TYPES_READ, Attributes, Fold, Operands, Rule, first_of


def _divide(left: Tensor, right: Tensor) -> Tensor:
    return left / right if left.is_floating_point() else torch.div(left, right, rounding_mode="trunc")


def _shift(x: Tensor, by: Tensor, direction: bytes) -> Tensor:
    return torch.bitwise_right_shift(x, by) if direction == b"RIGHT" else torch.bitwise_left_shift(x, by)


def _all(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda *values: functools.reduce(function, values)


_ELEMENTWISE: dict[str, Callable[..., Tensor]] = {
    "Abs": torch.abs,
    "Add": operator.add,
    "And": torch.logical_and,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Equal": torch.eq,
    "Erf": torch.erf,
    "Floor": torch.floor,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Log": torch.log,
    "Max": _all(torch.maximum),
    "Min": _all(torch.minimum),
    "Not": torch.logical_not,
    "Or": torch.logical_or,
    "Pow": torch.pow,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sum": _all(torch.add),
    "Tanh": torch.tanh,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
    "Div": _divide,
    "Exp": torch.exp,
    "Identity": torch.clone,
    "Mul": operator.mul,
    "Neg": torch.neg,
    "Reciprocal": torch.reciprocal,
    "Sqrt": torch.sqrt,
    "Sub": operator.sub,
    "Where": torch.where,
}


def _elementwise(name: str) -> Callable[[Operands, Attributes], Fold]:
    return lambda inputs, attributes: (_ELEMENTWISE[name], tuple(inputs))


def _cast(inputs: Operands, attributes: Attributes) -> Fold:
    kind = attributes["to"]
    if kind not in TYPES_READ:
        raise CaptureError(f"a conversion to the type number {kind}, which is not read")
    return torch.Tensor.to, (inputs[0], TYPES_READ[kind])


def _clip(inputs: Operands, attributes: Attributes) -> Fold:
    low, high = (inputs[at] if at < len(inputs) else attributes.get(name) for at, name in ((1, "min"), (2, "max")))
    bounds = [bound.item() if isinstance(bound, Tensor) else bound for bound in (low, high)]
    return (torch.clone, (first_of(inputs),)) if bounds == [None, None] else (torch.clamp, (first_of(inputs), *bounds))


def _rest(inputs: Operands, attributes: Attributes) -> Fold:
    """With the sign of what is divided (``fmod``), or of the divisor."""
    return torch.fmod if attributes.get("fmod", 0) else torch.remainder, tuple(inputs)


FOLDS: dict[str, Rule] = {
    **{name: _elementwise(name) for name in _ELEMENTWISE},
    "BitShift": lambda inputs, attributes: (_shift, (*inputs, attributes["direction"])),
    "Cast": _cast,
    "Clip": _clip,
    "Mod": _rest,
}
