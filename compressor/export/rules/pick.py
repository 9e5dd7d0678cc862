"""Functions that pick values by their places, or find the places: index, topk, sort, windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compressor.errors import ExportError
from compressor.export.rules.call import CallSite, function
from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_out.axes import per_axis, sample_axis
from compressor.graph.onnx_out.builder import GraphBuilder
from compressor.graph.onnx_out.pads import pad_value


@function("index_select")
def index_select(b: GraphBuilder, call: CallSite) -> OnnxValue:
    x, index = call.operand(), call.constant(2, "index")
    if index is None:
        raise ExportError("no index")
    return b.op("Gather", [x.value, b.constant(index.long())], axis=sample_axis(call.argument(1, "dim"), x))


@function("embedding")
def embedding(b: GraphBuilder, call: CallSite) -> OnnxValue:
    """Rows of a table of parameters, by whole numbers of the input."""
    table, places = call.operand(0, "weight"), call.operand(1, "indices")
    return b.op("Gather", [table.value, places.value], axis=0)


@function("index")
def index(b: GraphBuilder, call: CallSite) -> OnnxValue:
    """``x[:, places]``, and ``x[:, rows, columns]`` of neighbouring dimensions, which are picked from as one."""
    x = call.operand()
    given = {axis: place for axis, place in enumerate(call.rest(1, "indices")) if place is not None}
    raw = call.found(1, "indices")
    axes = sorted(given)
    if not axes or axes[0] == 0 or axes != list(range(axes[0], axes[-1] + 1)):
        raise ExportError("an index into the batch, or into dimensions that lie apart")
    places = [raw[axis] for axis in axes]
    if not all(isinstance(place, Tensor) and place.dtype in (torch.int32, torch.int64) for place in places):
        raise ExportError("an index that depends on the input, or a mask")
    sizes = [x.sizes[axis] for axis in axes]
    flat = torch.zeros((), dtype=torch.int64)
    for size, place in zip(sizes, places, strict=True):
        flat = flat * size + place.long() % size
    first, last = axes[0], axes[-1]
    joined = x.value
    if first != last:
        joined = b.reshape(joined, (*x.sample[: first - 1], math.prod(sizes), *x.sample[last:]))
    return b.op("Gather", [joined, b.constant(flat)], axis=first)


@function("gather", "take_along_dim")
def gather(b: GraphBuilder, call: CallSite) -> OnnxValue:
    if call.name == "gather":
        dim, places = call.argument(1, "dim"), call.operand(2, "index")
    else:
        dim, places = call.argument(2, "dim"), call.operand(1, "indices")
    x = call.operand()
    return b.op("GatherElements", [x.value, places.value], axis=sample_axis(dim, x))


@function("topk", "sort", "argsort")
def ordered(b: GraphBuilder, call: CallSite) -> OnnxValue | list[OnnxValue]:
    x = call.operand()
    if call.name == "topk":
        dim, largest = call.argument(2, "dim", default=-1), call.argument(3, "largest", default=True)
    else:
        dim, largest = call.argument(1, "dim", default=-1), call.argument(2, "descending", default=False)
    axis = sample_axis(dim, x)
    count = int(call.argument(1, "k")) if call.name == "topk" else x.sizes[axis]
    found = b.ops("TopK", [b.real(x), b.integers([count])], 2, axis=axis, largest=int(bool(largest)))
    return found[1] if call.name == "argsort" else list(found)


@function("argmax", "argmin")
def extreme_place(b: GraphBuilder, call: CallSite) -> OnnxValue:
    x, dim = call.operand(), call.argument(1, "dim")
    if dim is None:
        raise ExportError("the place of an extreme in the whole batch")
    keep = bool(call.argument(2, "keepdim", default=False))
    return b.op("ArgMax" if call.name == "argmax" else "ArgMin", [b.real(x)], axis=sample_axis(dim, x), keepdims=keep)


@function("cumsum")
def cumulative_sum(b: GraphBuilder, call: CallSite) -> OnnxValue:
    x = call.operand()
    axis = sample_axis(call.argument(1, "dim"), x)
    return b.op("CumSum", [b.real(x), b.constant(np.array(axis, dtype=np.int64))])


@function("repeat_interleave")
def repeated_values(b: GraphBuilder, call: CallSite) -> OnnxValue:
    x, times, dim = call.operand(), call.argument(1, "repeats"), call.argument(2, "dim")
    if not isinstance(times, int) or dim is None:
        raise ExportError("repeats that differ, or over the whole batch")
    axis = sample_axis(dim, x)
    places = np.repeat(np.arange(x.sizes[axis], dtype=np.int64), times)
    return b.op("Gather", [x.value, b.constant(places)], axis=axis)


@function("repeat")
def repeat(b: GraphBuilder, call: CallSite) -> OnnxValue:
    x, times = call.operand(), call.rest(1, "repeats")
    if len(times) != x.rank or times[0] != 1 or not all(isinstance(count, int) for count in times):
        raise ExportError("a repetition of the batch")
    return x.value if set(times) == {1} else b.op("Tile", [x.value, b.integers(times)])


@function("tril", "triu")
def triangle(b: GraphBuilder, call: CallSite) -> OnnxValue:
    diagonal = b.constant(np.array(call.argument(1, "diagonal", default=0), dtype=np.int64))
    return b.op("Trilu", [call.operand().value, diagonal], upper=int(call.name == "triu"))


@function("rot90")
def quarter_turns(b: GraphBuilder, call: CallSite) -> OnnxValue:
    """A turn is a transposition behind a reflection."""
    x, turns = call.operand(), call.argument(1, "k", default=1) % 4
    first, second = (sample_axis(dim, x) for dim in call.argument(2, "dims", default=(0, 1)))
    value = x.value
    order = list(range(x.rank))
    order[first], order[second] = second, first
    for _ in range(turns):
        value = b.op("Transpose", [reversed_axis(b, value, second)], perm=order)
    return value


def reversed_axis(b: GraphBuilder, value: OnnxValue, axis: int) -> OnnxValue:
    """The values along an axis from last to first."""
    return b.op("Slice", [value, *(b.integers([n]) for n in (-1, -(2**63) + 1, axis, -1))])


# --- windows -----------------------------------------------------------------------------------------------------


def windows(size: int, kernel: int, stride: int, dilation: int = 1) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Places that each window along an axis covers: ``(windows, kernel)``."""
    count = (size - dilation * (kernel - 1) - 1) // stride + 1
    return np.arange(count)[:, None] * stride + np.arange(kernel)[None] * dilation


@function("unfold")
def unfold(b: GraphBuilder, call: CallSite) -> OnnxValue:
    """Windows along one dimension, which become a last one: ``(…, windows, …, size)``."""
    x, size, step = call.operand(), call.argument(2, "size"), call.argument(3, "step")
    axis, rank = sample_axis(call.argument(1, "dimension"), x), x.rank
    value = b.op("Gather", [x.value, b.constant(windows(x.sizes[axis], size, step))], axis=axis)
    order = [place for place in range(rank + 1) if place != axis + 1]
    return b.op("Transpose", [value], perm=[*order, axis + 1])


@function("im2col")
def columns(b: GraphBuilder, call: CallSite) -> OnnxValue:
    """torch's ``unfold`` of images: every window of every channel as a column."""
    x = call.operand()
    kernel, dilation, padding, stride = (_pair(call.argument(i + 1)) for i in range(4))
    value = pad_value(b, x.value, padding, padding)
    channels, *sizes = x.sample
    counts = []
    for axis, (size, k, gap, pad, step) in enumerate(zip(sizes, kernel, dilation, padding, stride, strict=True)):
        places = windows(size + 2 * pad, k, step, gap)
        counts.append(len(places))
        value = b.op("Gather", [value, b.constant(places)], axis=2 + 2 * axis)
    value = b.op("Transpose", [value], perm=[0, 1, 3, 5, 2, 4])
    return b.reshape(value, (channels * math.prod(kernel), math.prod(counts)))


@function("col2im")
def image_of_columns(b: GraphBuilder, call: CallSite) -> OnnxValue:
    x, size = call.operand(), call.argument(1, "output_size")
    kernel, dilation, padding, stride = (_pair(call.argument(i + 2)) for i in range(4))
    shape = [b.integers(_pair(size)), b.integers(kernel)]
    return b.op("Col2Im", [x.value, *shape], dilations=dilation, pads=[*padding, *padding], strides=stride)


def _pair(value: int | Sequence[int]) -> list[int]:
    return per_axis(value, 2)


@function("grid_sampler", "grid_sampler_2d", "grid_sample")
def grid_sample(b: GraphBuilder, call: CallSite) -> OnnxValue:
    if call.name == "grid_sample":
        raise ExportError("capture the network first: only the exported operator is known")
    if b.opset < 20:
        raise ExportError("sampling by a grid needs opset 20")
    mode = ("linear", "nearest", "cubic")[call.argument(2)]
    border = ("zeros", "border", "reflection")[call.argument(3)]
    inputs = [call.operand().value, call.operand(1, "grid").value]
    return b.op("GridSample", inputs, mode=mode, padding_mode=border, align_corners=int(bool(call.argument(4))))


@function("affine_grid_generator")
def affine_grid(b: GraphBuilder, call: CallSite) -> OnnxValue:
    """Where each pixel of the result comes from: homogeneous coordinates times the matrix of each sample."""
    theta, size, corners = call.operand(), call.argument(1, "size"), bool(call.argument(2, "align_corners"))
    height, width = int(size[-2]), int(size[-1])
    if len(size) != 4:
        raise ExportError("an affine grid of volumes")
    unit = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    base = torch.nn.functional.affine_grid(unit, [1, 1, height, width], align_corners=corners)
    homogeneous = torch.cat([base, torch.ones(1, height, width, 1)], -1).reshape(1, height * width, 3)
    turned = b.op("Transpose", [theta.value], perm=[0, 2, 1])
    return b.reshape(b.op("MatMul", [b.weight(homogeneous), turned]), (height, width, 2))
