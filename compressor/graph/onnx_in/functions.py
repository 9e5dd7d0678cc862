"""ONNX operators that become function calls or changes of shape: arithmetic, joins, reductions, cuts."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from compressor.errors import CaptureError
from compressor.graph.leaf import Shape
from compressor.graph.onnx_in.node import Node, rule
from compressor.graph.raising.program import BATCH

_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Div": operator.truediv,
}
_UNARY: dict[str, Callable[..., Any]] = {
    "Abs": torch.abs,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Log": torch.log,
    "Neg": torch.neg,
    "Reciprocal": torch.reciprocal,
    "Sqrt": torch.sqrt,
}
_REDUCTIONS: dict[str, Callable[..., Any]] = {"ReduceMax": torch.amax, "ReduceMin": torch.amin, "ReduceSum": torch.sum}


@rule(*_ARITHMETIC)
def arithmetic(node: Node) -> fx.Node:
    return node.apply(_ARITHMETIC[node.operator], *(node.state.operand(name) for name in node.inputs))


@rule("Sum")
def total(node: Node) -> fx.Node:
    value = node.tensor(0)
    for name in node.inputs[1:]:
        value = node.apply(operator.add, value, node.state.operand(name))
    return value


@rule(*_UNARY)
def unary(node: Node) -> fx.Node:
    return node.apply(_UNARY[node.operator], node.tensor())


@rule("Pow")
def power(node: Node) -> fx.Node:
    if node.constant(1).numel() != 1:
        raise CaptureError("several exponents")
    return node.apply(torch.pow, node.tensor(), node.constant(1).item())


@rule("Identity")
def identity(node: Node) -> fx.Node:
    return node.tensor()


@rule("Cast")
def cast(node: Node) -> fx.Node:
    value = node.tensor()
    if node.attributes.get("to") not in (1, 10, 11, 16) and not value.meta.get("flags"):
        raise CaptureError("a conversion to whole numbers")
    return value


@rule("Concat")
def concatenate(node: Node) -> fx.Node:
    axis = node.axis(node.attributes["axis"])
    return node.apply(torch.cat, [node.tensor(position) for position in range(len(node.inputs))], axis)


@rule("Transpose")
def transpose(node: Node) -> fx.Node:
    rank = len(node.sample()) + 1
    order = list(node.attributes.get("perm", reversed(range(rank))))
    if order[0] != 0:
        raise CaptureError("it moves the batch from its place")
    return node.apply(torch.permute, node.tensor(), order)


@rule("ReduceMean")
def mean(node: Node) -> fx.Node:
    dims, keep = _dims(node), bool(node.attributes.get("keepdims", 1))
    if sorted(dims) != [2, 3] or len(node.sample()) != 3:
        return node.apply(torch.mean, node.tensor(), dims, keep)
    pooled = node.leaf(nn.AdaptiveAvgPool2d((1, 1)), node.tensor())
    return pooled if keep else node.rows(pooled)


@rule(*_REDUCTIONS)
def reduction(node: Node) -> fx.Node:
    return node.apply(_REDUCTIONS[node.operator], node.tensor(), _dims(node), bool(node.attributes.get("keepdims", 1)))


def _dims(node: Node) -> list[int]:
    axes = node.integers(1, "axes")
    if not axes:
        raise CaptureError("it reduces the batch")
    return [node.axis(axis) for axis in axes]


# --- changes of shape --------------------------------------------------------------------------------------------


@rule("Flatten")
def flatten(node: Node) -> fx.Node:
    if node.axis(node.attributes.get("axis", 1)) != 1:
        raise CaptureError("it joins the batch with other dimensions")
    return node.rows(node.tensor())


@rule("Reshape")
def reshape(node: Node) -> fx.Node:
    sizes = node.state.sizes_in(node.inputs[1])
    if not isinstance(sizes, list) or not sizes:
        raise CaptureError("its new sizes are no list")
    before = [BATCH, *node.sample()]
    if not node.attributes.get("allowzero"):
        sizes = [before[place] if size == 0 and place < len(before) else size for place, size in enumerate(sizes)]
    return node.reshaped(node.tensor(), _sample(sizes[1:], node.sample()))


def _sample(sizes: list[int], before: Shape) -> Shape:
    """The shape of one sample; the first size is taken for the batch's, whatever it says."""
    if sizes.count(-1) > 1 or any(size < -1 for size in sizes):
        raise CaptureError("several of its new sizes are open")
    known, values = 1, 1
    for size in sizes:
        known *= size if size != -1 else 1
    for size in before:
        values *= size
    return tuple(size if size != -1 else values // max(known, 1) for size in sizes)


@rule("Squeeze", "Unsqueeze")
def squeeze(node: Node) -> fx.Node:
    sample = list(node.sample())
    axes = node.integers(1, "axes")
    if axes is None:
        axes = [place + 1 for place, size in enumerate(sample) if size == 1]
    if node.operator == "Squeeze":
        dropped = {node.axis(axis) - 1 for axis in axes}
        return node.reshaped(node.tensor(), tuple(size for place, size in enumerate(sample) if place not in dropped))
    rank = len(sample) + 1 + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        if axis == 0:
            raise CaptureError("it puts a dimension before the batch")
        sample.insert(axis - 1, 1)
    return node.reshaped(node.tensor(), tuple(sample))


@rule("Slice")
def cut(node: Node) -> fx.Node:
    starts, ends = node.integers(1, "starts") or [], node.integers(2, "ends") or []
    axes = node.integers(3, "axes") or list(range(len(starts)))
    steps = node.integers(4, "steps") or [1] * len(starts)
    value = node.tensor()
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 1:
            raise CaptureError("it reverses a dimension")
        bounds = (node.axis(axis), start, min(end, 2**62), step)
        value = node.apply(torch.ops.aten.slice.Tensor, value, *bounds)
    return value


@rule("Split")
def split(node: Node) -> fx.Node:
    axis = node.axis(node.attributes.get("axis", 0))
    size, count = node.sample()[axis - 1], len(node.outputs)
    sizes = node.integers(1, "split") or [-(-size // count)] * count
    start, parts = 0, []
    for name, length in zip(node.outputs, sizes, strict=True):
        part = node.apply(torch.ops.aten.slice.Tensor, node.tensor(), axis, start, min(start + length, size), 1)
        node.state.nodes[name] = part
        parts.append(part)
        start += length
    return parts[0]
