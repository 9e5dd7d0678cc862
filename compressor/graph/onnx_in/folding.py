"""Constants computed from constants: weights that a file stores packed and lets the runtime unpack at load.

A fold is a function of torch and its arguments. It runs on tensors without memory first, which gives the size of the
result: a small file cannot claim gigabytes.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor

from compressor.errors import CaptureError

MAX_FOLDED: Final = 2**31
"""Bytes of all folded constants of a file together: about 300 million one-bit weights with what lies between."""
MAX_PRODUCTS: Final = 2**34
"""Multiply-accumulates in one product of constants."""

_Inputs = Sequence[Tensor | None]
Attributes = Mapping[str, Any]
Fold = tuple[Callable[..., Tensor], tuple[Any, ...]]
"""A function and its arguments; the tensors among them stand at the top level or in one list."""

DTYPES: Final[dict[int, torch.dtype]] = {
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


class Folder:
    """Folds the constant operators of one file, within the bounds that hold for all of them together."""

    def __init__(self) -> None:
        self.folded = 0

    def fold(self, operator: str, inputs: _Inputs, attributes: Attributes, count: int = 1) -> list[Tensor]:
        """The results. Raises ``CaptureError`` for inputs that do not fit, and for results beyond the bounds."""
        try:
            folds = _split(inputs, attributes, count) if operator == "Split" else [FOLDS[operator](inputs, attributes)]
            if len(folds) != count:
                raise CaptureError(f"it has {count} outputs")
            return [self._run(*fold) for fold in folds]
        except (RuntimeError, IndexError, TypeError, ValueError, KeyError, AttributeError) as error:
            reason = str(error).partition("\n")[0][:100]
            raise CaptureError(f"its constants do not fit together ({reason})") from None

    def _run(self, function: Callable[..., Tensor], arguments: tuple[Any, ...]) -> Tensor:
        shadow = function(*_without_memory(arguments))
        self.folded += shadow.numel() * shadow.element_size()
        if self.folded > MAX_FOLDED:
            raise CaptureError(f"the constants of the file would unfold to more than {MAX_FOLDED >> 30} GiB")
        return function(*arguments)


def _without_memory(arguments: tuple[Any, ...]) -> list[Any]:
    return [
        [item.to("meta") for item in value]
        if isinstance(value, list) and value and isinstance(value[0], Tensor)
        else value.to("meta")
        if isinstance(value, Tensor)
        else value
        for value in arguments
    ]


# --- element by element ----------------------------------------------------------------------------------------------


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


def _cast(inputs: _Inputs, attributes: Attributes) -> Fold:
    kind = attributes["to"]
    if kind not in DTYPES:
        raise CaptureError(f"a conversion to the type number {kind}, which is not read")
    return torch.Tensor.to, (inputs[0], DTYPES[kind])


# --- moving values about ---------------------------------------------------------------------------------------------


def _numbers(inputs: _Inputs, position: int, attributes: Attributes, name: str) -> list[int]:
    """Integers that are an input in newer operator sets and an attribute in older ones."""
    tensor = inputs[position] if position < len(inputs) else None
    values = attributes.get(name, []) if tensor is None else tensor.reshape(-1).tolist()
    return [int(value) for value in values]


def _reshape(inputs: _Inputs, attributes: Attributes) -> Fold:
    x = _first(inputs)
    sizes = _numbers(inputs, 1, attributes, "shape")
    if not attributes.get("allowzero"):
        sizes = [x.shape[place] if size == 0 else size for place, size in enumerate(sizes)]
    return torch.reshape, (x, sizes)


def _cut(x: Tensor, cuts: Sequence[tuple[int, int, int, int]]) -> Tensor:
    for axis, start, end, step in cuts:
        start, stop, step = slice(start, end, step).indices(x.shape[axis])
        if step < 0:  # the same places the other way round
            places = range(start, stop, step)
            x = _along(x, axis, places[-1], places[0] + 1, -step).flip(axis) if places else _along(x, axis, 0, 0, 1)
        else:
            x = _along(x, axis, start, stop, step)
    return x


def _along(x: Tensor, axis: int, start: int, stop: int, step: int) -> Tensor:
    return x[(slice(None),) * (axis % x.dim()) + (slice(start, stop, step),)]


def _slice(inputs: _Inputs, attributes: Attributes) -> Fold:
    starts, ends = _numbers(inputs, 1, attributes, "starts"), _numbers(inputs, 2, attributes, "ends")
    axes = _numbers(inputs, 3, attributes, "axes") or list(range(len(starts)))
    steps = _numbers(inputs, 4, attributes, "steps") or [1] * len(starts)
    return _cut, (inputs[0], tuple(zip(axes, starts, ends, steps, strict=True)))


def _split(inputs: _Inputs, attributes: Attributes, count: int) -> list[Fold]:
    x, axis = _first(inputs), attributes.get("axis", 0)
    sizes = _numbers(inputs, 1, attributes, "split") or [-(-x.shape[axis] // count)] * count
    ends = list(itertools.accumulate(sizes))
    return [(_cut, (x, ((axis, end - size, end, 1),))) for size, end in zip(sizes, ends, strict=True)]


def _pad(inputs: _Inputs, attributes: Attributes) -> Fold:
    x, pads = _first(inputs), _numbers(inputs, 1, attributes, "pads")
    fill = inputs[2] if len(inputs) > 2 else None
    if attributes.get("mode", b"constant") != b"constant":
        raise CaptureError("padding with copied values")
    axes = _numbers(inputs, 3, attributes, "axes") or list(range(x.dim()))
    sides = {axis % x.dim(): pair for axis, *pair in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True)}
    pairs = [size for axis in reversed(range(x.dim())) for size in sides.get(axis, (0, 0))]
    return F.pad, (x, pairs, "constant", 0 if fill is None else fill.item())


def _take(x: Tensor, places: Tensor, axis: int) -> Tensor:
    size = x.shape[axis]
    flat = places.reshape(-1).long()
    axis %= x.dim()
    chosen = x.index_select(axis, torch.where(flat < 0, flat + size, flat))
    return chosen.reshape(*x.shape[:axis], *places.shape, *x.shape[axis + 1 :])


def _place(x: Tensor, places: Tensor, values: Tensor, axis: int) -> Tensor:
    return torch.scatter(x, axis, places.long(), values)


def _scatter(inputs: _Inputs, attributes: Attributes) -> Fold:
    if attributes.get("reduction", b"none") != b"none":
        raise CaptureError("values that are combined where they meet")
    return _place, (*inputs, attributes.get("axis", 0))


def _running_sum(inputs: _Inputs, attributes: Attributes) -> Fold:
    x, axis = _first(inputs), _numbers(inputs, 1, attributes, "axis")[0]
    if attributes.get("exclusive") or attributes.get("reverse"):
        raise CaptureError("a running sum that leaves out its end, or runs backwards")
    return _cumulate, (x, axis)


def _cumulate(x: Tensor, axis: int) -> Tensor:
    return torch.cumsum(x, axis, dtype=x.dtype)


def _unsqueeze(inputs: _Inputs, attributes: Attributes) -> Fold:
    x, axes = _first(inputs), _numbers(inputs, 1, attributes, "axes")
    sizes, rank = list(x.shape), x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        sizes.insert(axis, 1)
    return torch.reshape, (x, sizes)


def _squeeze(inputs: _Inputs, attributes: Attributes) -> Fold:
    x, axes = _first(inputs), _numbers(inputs, 1, attributes, "axes")
    dropped = {axis % x.dim() for axis in axes} or {axis for axis, size in enumerate(x.shape) if size == 1}
    return torch.reshape, (x, [size for axis, size in enumerate(x.shape) if axis not in dropped])


def _transpose(inputs: _Inputs, attributes: Attributes) -> Fold:
    x = _first(inputs)
    return torch.permute, (x, list(attributes.get("perm", reversed(range(x.dim())))))


def _flatten(inputs: _Inputs, attributes: Attributes) -> Fold:
    x = _first(inputs)
    axis = attributes.get("axis", 1)
    before = math.prod(x.shape[: axis if axis >= 0 else axis + x.dim()])
    return torch.reshape, (x, [before, x.numel() // max(before, 1)])


def _reduction(function: Callable[..., Tensor]) -> Callable[[_Inputs, Attributes], Fold]:
    def fold(inputs: _Inputs, attributes: Attributes) -> Fold:
        x, axes = _first(inputs), _numbers(inputs, 1, attributes, "axes")
        if not axes and attributes.get("noop_with_empty_axes"):
            return torch.clone, (x,)
        axes = sorted(axis % x.dim() for axis in axes) or list(range(x.dim()))
        return _reduce, (function, x, axes, bool(attributes.get("keepdims", 1)))

    return fold


def _reduce(function: Callable[..., Tensor], x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in reversed(axes):
        x = function(x, dim=axis, keepdim=keep)
    return x.clone()


def _whole_mean(x: Tensor, dim: int, keepdim: bool) -> Tensor:
    return x.to(torch.float64).mean(dim, keepdim).to(x.dtype)


def _product_along(x: Tensor, dim: int, keepdim: bool) -> Tensor:
    return x.prod(dim, keepdim, dtype=x.dtype)


def _sum_along(x: Tensor, dim: int, keepdim: bool) -> Tensor:
    return x.sum(dim, keepdim, dtype=x.dtype)


def _dequantize(inputs: _Inputs, attributes: Attributes) -> Fold:
    """(q − zero) · scale: one number for all, one per slice along an axis, or one per block of an axis."""
    x, scale = _first(inputs), inputs[1]
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


# --- making values ---------------------------------------------------------------------------------------------------


def _filled(inputs: _Inputs, attributes: Attributes) -> Fold:
    proto = attributes.get("value")
    if proto is not None and (proto.data_type not in DTYPES or list(proto.dims) not in ([], [1])):
        raise CaptureError("a filling that is no single number")
    fill = torch.zeros(()) if proto is None else _number_of(proto)
    return torch.broadcast_to, (fill, _numbers(inputs, 0, attributes, "shape"))


def _number_of(proto: Any) -> Tensor:
    return torch.from_numpy(numpy_helper.to_array(proto).copy()).reshape(())


def _range(inputs: _Inputs, attributes: Attributes) -> Fold:
    start, limit, step = (_first([value]) for value in inputs)
    return _count, (start.item(), limit.item(), step.item(), start.dtype)


def _count(start: float, limit: float, step: float, dtype: torch.dtype) -> Tensor:
    if not step or (limit - start) / step > MAX_FOLDED:
        raise CaptureError("a range without an end")
    count = max(math.ceil((limit - start) / step), 0)
    return torch.arange(count).mul(step).add(start).to(dtype)


def _expand(inputs: _Inputs, attributes: Attributes) -> Fold:
    x = _first(inputs)
    sizes = _numbers(inputs, 1, attributes, "shape")
    sizes = [1] * (x.dim() - len(sizes)) + sizes
    kept = [1] * (len(sizes) - x.dim()) + list(x.shape)
    return torch.broadcast_to, (x, [own if size == 1 else size for own, size in zip(kept, sizes, strict=True)])


def _diagonal(x: Tensor, offset: int, dtype: torch.dtype) -> Tensor:
    return torch.ones(x.shape, dtype=dtype, device=x.device).triu(offset).tril(offset)


def _eye(inputs: _Inputs, attributes: Attributes) -> Fold:
    x = _first(inputs)
    return _diagonal, (x, attributes.get("k", 0), DTYPES[attributes["dtype"]] if "dtype" in attributes else x.dtype)


def _product(inputs: _Inputs, attributes: Attributes) -> Fold:
    left, right = inputs
    if left is None or right is None or left.dim() < 2:
        raise CaptureError("a product of constants that are no matrices")
    if torch.matmul(left.to("meta"), right.to("meta")).numel() * left.shape[-1] > MAX_PRODUCTS:
        raise CaptureError(f"a product of constants that takes more than {MAX_PRODUCTS} multiplications")
    return torch.matmul, (left, right)


def _first(inputs: _Inputs) -> Tensor:
    if not inputs or inputs[0] is None:
        raise CaptureError("its first input is missing")
    return inputs[0]


def _elementwise(name: str) -> Callable[[_Inputs, Attributes], Fold]:
    return lambda inputs, attributes: (_ELEMENTWISE[name], tuple(inputs))


def _clip(inputs: _Inputs, attributes: Attributes) -> Fold:
    low, high = (inputs[at] if at < len(inputs) else attributes.get(name) for at, name in ((1, "min"), (2, "max")))
    bounds = [bound.item() if isinstance(bound, Tensor) else bound for bound in (low, high)]
    return (torch.clone, (_first(inputs),)) if bounds == [None, None] else (torch.clamp, (_first(inputs), *bounds))


def _rest(inputs: _Inputs, attributes: Attributes) -> Fold:
    """With the sign of what is divided (``fmod``), or of the divisor."""
    return torch.fmod if attributes.get("fmod", 0) else torch.remainder, tuple(inputs)


FOLDS: dict[str, Callable[[_Inputs, Attributes], Fold]] = {
    **{name: _elementwise(name) for name in _ELEMENTWISE},
    "BitShift": lambda inputs, attributes: (_shift, (*inputs, attributes["direction"])),
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda inputs, attributes: (torch.cat, (list(inputs), attributes["axis"])),
    "ConstantOfShape": _filled,
    "CumSum": _running_sum,
    "DequantizeLinear": _dequantize,
    "Expand": _expand,
    "EyeLike": _eye,
    "Flatten": _flatten,
    "Gather": lambda inputs, attributes: (_take, (*inputs, attributes.get("axis", 0))),
    "MatMul": _product,
    "Mod": _rest,
    "Pad": _pad,
    "Range": _range,
    "ReduceL1": _reduction(partial(torch.linalg.vector_norm, ord=1)),
    "ReduceL2": _reduction(torch.linalg.vector_norm),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMean": _reduction(_whole_mean),
    "ReduceMin": _reduction(torch.amin),
    "ReduceProd": _reduction(_product_along),
    "ReduceSum": _reduction(_sum_along),
    "Reshape": _reshape,
    "ScatterElements": _scatter,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Tile": lambda inputs, attributes: (torch.tile, (inputs[0], _numbers(inputs, 1, attributes, "repeats"))),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""Operators with one result that are folded where all their inputs are constants."""
FOLDABLE = frozenset([*FOLDS, "Split"])
"""All operators that are."""
