"""Functions that reshape, reorder, cut and join."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from compressor.errors import ExportError
from compressor.export.rules.arithmetic import as_kind
from compressor.export.rules.call import BatchSize, CallSite, function
from compressor.export.rules.pick import reversed_axis
from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_out.axes import sample_axis
from compressor.graph.onnx_out.builder import GraphBuilder, Operand
from compressor.graph.onnx_out.pads import pad_value, split_pads


@function("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as", "_unsafe_view")
def reshape(b: GraphBuilder, call: CallSite) -> OnnxValue:
    """The sizes asked for are known from those of the result; only the batch stays open, wherever it is."""
    x, shape, whole = call.operand(), call.node.meta.get("shape"), call.node.meta.get("sizes")
    if x.shape is not None and shape is not None and math.prod(x.shape) == math.prod(shape):
        return x.value if x.shape == shape else b.reshape(x.value, shape)
    sizes = (-1, *shape) if shape is not None else whole
    if sizes is None:
        raise ExportError("a reshape to sizes that are not known")
    return b.op("Reshape", [x.value, b.integers(sizes)])


@function("contiguous", "clone", "detach", "alias", "lift_fresh_copy")
def same(b: GraphBuilder, call: CallSite) -> OnnxValue:
    return call.operand().value


@function("to", "_to_copy", "float", "type_as", "double", "int", "long", "bool")
def cast(b: GraphBuilder, call: CallSite) -> OnnxValue:
    """The file computes in float32, double precision too; numbers of less precision are refused."""
    kind = call.node.meta.get("dtype")
    given = [*call.node.args[1:], *call.node.kwargs.values()]
    narrow = [value for value in given if value in (torch.float16, torch.bfloat16)]
    if narrow:
        raise ExportError(f"a conversion to {narrow[0]}, which rounds")
    return call.operand().value if kind == call.operand().kind else as_kind(b, call, b.real(call.operand()))


@function("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout")
def dropout(b: GraphBuilder, call: CallSite) -> OnnxValue:
    if call.argument(2, "train", "training", default=True):
        raise ExportError("dropout that is always on has no fixed function to export")
    return call.operand().value


@function("permute")
def permute(b: GraphBuilder, call: CallSite) -> OnnxValue:
    x = call.operand()
    rank = x.rank
    order = [dim % rank for dim in call.rest(1, "dims")]
    return b.op("Transpose", [x.value], perm=order)


@function("transpose", "swapaxes", "swapdims")
def transpose(b: GraphBuilder, call: CallSite) -> OnnxValue:
    x = call.operand()
    first, second = (call.argument(i, n) % x.rank for i, n in ((1, "dim0"), (2, "dim1")))
    order = list(range(x.rank))
    order[first], order[second] = order[second], order[first]
    return b.op("Transpose", [x.value], perm=order)


@function("expand", "expand_as", "broadcast_to")
def expand(b: GraphBuilder, call: CallSite) -> OnnxValue:
    if (shape := call.node.meta.get("shape")) is None:
        raise ExportError("an expansion whose batch is not in the first place")
    return b.op("Expand", [call.operand().value, b.integers([1, *shape])])


@function("cat", "concat", "concatenate")
def concatenate(b: GraphBuilder, call: CallSite) -> OnnxValue:
    operands: Sequence[Operand] = call.argument(0, "tensors")
    axis = sample_axis(call.argument(1, "dim", "axis", default=0), operands[0])
    return b.op("Concat", [operand.value for operand in operands], axis=axis)


@function("stack")
def stack(b: GraphBuilder, call: CallSite) -> OnnxValue:
    operands: Sequence[Operand] = call.argument(0, "tensors")
    axis = call.argument(1, "dim", default=0) % (operands[0].rank + 1)
    return b.op("Concat", [b.op("Unsqueeze", [x.value, b.integers([axis])]) for x in operands], axis=axis)


@function("chunk", "split", "split_with_sizes", "unsafe_split", "unsafe_chunk", "tensor_split")
def split(b: GraphBuilder, call: CallSite) -> list[OnnxValue]:
    x, given = (
        call.operand(),
        call.argument(1, "chunks", "split_size", "split_size_or_sections", "split_sizes", "sections"),
    )
    axis = sample_axis(call.argument(2, "dim", default=0), x)
    size = x.sizes[axis]
    if call.name == "tensor_split":
        raise ExportError("tensor_split: use chunk or split")
    if isinstance(given, int):
        step = -(-size // given) if "chunk" in call.name else given
        given = [min(step, size - start) for start in range(0, size, step)]
    return list(b.ops("Split", [x.value, b.integers(given)], len(given), axis=axis))


@function("flip")
def flip(b: GraphBuilder, call: CallSite) -> OnnxValue:
    x = call.operand()
    value = x.value
    for dim in call.rest(1, "dims"):
        value = reversed_axis(b, value, sample_axis(dim, x))
    return value


@function("roll")
def roll(b: GraphBuilder, call: CallSite) -> OnnxValue:
    x = call.operand()
    shifts, dims = call.argument(1, "shifts"), call.argument(2, "dims")
    if not dims:
        raise ExportError("a roll across the batch")
    pairs = [(shifts, dims)] if isinstance(shifts, int) else list(zip(shifts, dims, strict=True))
    value = x.value
    for shift, dim in pairs:
        axis = sample_axis(dim, x)
        cut = -shift % x.sizes[axis]
        value = b.op("Concat", [_slice(b, value, axis, cut, None, 1), _slice(b, value, axis, 0, cut, 1)], axis=axis)
    return value


@function("movedim")
def movedim(b: GraphBuilder, call: CallSite) -> OnnxValue:
    x = call.operand()
    source, target = ([dims] if isinstance(dims, int) else list(dims) for dims in (call.argument(1), call.argument(2)))
    moved = {to % x.rank: at % x.rank for at, to in zip(source, target, strict=True)}
    others = iter(axis for axis in range(x.rank) if axis not in moved.values())
    order = [moved[place] if place in moved else next(others) for place in range(x.rank)]
    return b.op("Transpose", [x.value], perm=order)


@function("unbind")
def unbind(b: GraphBuilder, call: CallSite) -> list[OnnxValue]:
    x = call.operand()
    axis = sample_axis(call.argument(1, "dim", default=0), x)
    return [_select(b, x.value, axis, index) for index in range(x.sizes[axis])]


@function("getitem")
def item(b: GraphBuilder, call: CallSite) -> OnnxValue:
    """``x[:, 1, ::2, None, ...]``: full slices along the batch, integers, slices, new axes elsewhere."""
    x, index = call.operand(), call.argument(1)
    parts = list(index) if isinstance(index, list | tuple) else [index]
    used = sum(part is not None and part is not ... for part in parts)
    if ... in parts:
        place = parts.index(...)
        parts[place : place + 1] = [slice(None)] * (x.rank - used)
    if not parts or (x.sizes[0] < 0 and parts[0] != slice(None)):
        raise ExportError("an index into the batch")
    value, axis = x.value, 0
    for part in parts:
        if isinstance(part, bool) or not (part is None or isinstance(part, int | slice)):
            raise ExportError(f"an index of type {type(part).__name__}")
        if part is None:
            value = b.op("Unsqueeze", [value, b.integers([axis])])
        elif isinstance(part, int):
            value, axis = _select(b, value, axis, part), axis - 1
        else:
            value = _slice(b, value, axis, part.start, part.stop, part.step)
        axis += 1
    return value


@function("slice")
def slice_(b: GraphBuilder, call: CallSite) -> OnnxValue:
    x, (start, stop, step) = call.operand(), (call.argument(i, n) for i, n in ((2, "start"), (3, "end"), (4, "step")))
    dim = call.argument(1, "dim", default=0)
    if dim % (x.rank) == 0 and (start or 0) == 0 and (step or 1) == 1 and _unbounded(stop):
        return x.value
    return _slice(b, x.value, sample_axis(dim, x), start, stop, step)


@function("narrow")
def narrow(b: GraphBuilder, call: CallSite) -> OnnxValue:
    x, start, length = call.operand(), call.argument(2, "start"), call.argument(3, "length")
    return _slice(b, x.value, sample_axis(call.argument(1, "dim"), x), start, start + length, 1)


@function("select")
def select(b: GraphBuilder, call: CallSite) -> OnnxValue:
    x, dim = call.operand(), call.argument(1, "dim")
    return _select(b, x.value, sample_axis(dim, x), call.argument(2, "index"))


@function("pad", "constant_pad_nd")
def pad(b: GraphBuilder, call: CallSite) -> OnnxValue:
    x = call.operand()
    mode = "constant" if call.name == "constant_pad_nd" else call.argument(2, "mode", default="constant")
    fill = call.argument(2, "value") if call.name == "constant_pad_nd" else call.argument(3, "value")
    rank = len(x.sample)
    begin, end = split_pads(call.argument(1, "pad"), rank)
    if len(begin) > rank:
        raise ExportError("padding along the batch")
    if begin[0] == end[0] == 0:
        return pad_value(b, x.value, begin[1:], end[1:], mode, float(fill or 0))
    if mode != "constant":
        raise ExportError(f"padding of channels in mode {mode!r}")
    pads = b.integers([0, *begin, 0, *end])
    return b.op("Pad", [x.value, pads, b.scalar(float(fill or 0))], mode="constant")


def _unbounded(stop: Any) -> bool:
    return stop is None or isinstance(stop, BatchSize) or stop >= 2**31 - 1


def _slice(b: GraphBuilder, value: OnnxValue, axis: int, start: Any, stop: Any, step: Any) -> OnnxValue:
    bounds = [0 if start is None else start, 2**63 - 1 if stop is None else stop, 1 if step is None else step]
    if bounds == [0, 2**63 - 1, 1]:
        return value
    if any(isinstance(bound, BatchSize | Operand) for bound in bounds):
        raise ExportError("a slice whose bounds are computed")
    return b.op("Slice", [value, *(b.integers([n]) for n in (bounds[0], bounds[1], axis, bounds[2]))])


def _select(b: GraphBuilder, value: OnnxValue, axis: int, index: int) -> OnnxValue:
    return b.op("Gather", [value, b.constant(np.array(index, dtype=np.int64))], axis=axis)
