"""ONNX reductions along dimensions of a sample, and products written as equations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from compressor.errors import CaptureError
from compressor.graph.layers.adaptive_pool import over_image
from compressor.graph.layers.linear import read_linear as linear
from compressor.graph.onnx_in.reshapes import note_batch
from compressor.graph.onnx_in.rules import rule
from compressor.graph.onnx_node.node import Node

aten = torch.ops.aten

_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceMax": torch.amax,
    "ReduceMin": torch.amin,
    "ReduceSum": torch.sum,
    "ReduceLogSumExp": torch.logsumexp,
}


@rule("ReduceMean")
def mean(node: Node) -> fx.Node:
    dims, keep = _dims(node), bool(node.attributes.get("keepdims", 1))
    if sorted(dims) != [2, 3] or len(node.sample()) != 3:
        return node.apply(torch.mean, node.tensor(), dims, keep) if dims else node.tensor()
    pooled = node.leaf(over_image(), node.tensor())
    return pooled if keep else node.rows(pooled)


@rule(*_REDUCTIONS)
def reduction(node: Node) -> fx.Node:
    return _reduced(node, node.tensor(), _REDUCTIONS[node.operator])


@rule("ReduceL1", "ReduceSumSquare", "ReduceLogSum", "ReduceL2")
def reduction_of_parts(node: Node) -> fx.Node:
    """Sums of what each value becomes first, some with a function of the sum."""
    dims, keep = _dims(node), bool(node.attributes.get("keepdims", 1))
    match node.operator:
        case "ReduceL1" | "ReduceL2":
            return node.apply(aten.linalg_vector_norm.default, node.tensor(), int(node.operator[-1]), dims, keep)
        case "ReduceSumSquare":
            return _reduced(node, node.apply(torch.square, node.tensor()), torch.sum)
    return node.apply(torch.log, _reduced(node, node.tensor(), torch.sum))


@rule("ReduceProd")
def total_product(node: Node) -> fx.Node:
    value, keep = node.tensor(), bool(node.attributes.get("keepdims", 1))
    for axis in sorted(_dims(node), reverse=True):
        value = node.apply(aten.prod.dim_int, value, axis, keep)
    return value


def _reduced(node: Node, value: fx.Node, function: Callable[..., Any]) -> fx.Node:
    dims = _dims(node)
    return node.apply(function, value, dims, bool(node.attributes.get("keepdims", 1))) if dims else value


def _dims(node: Node) -> list[int]:
    axes = node.integers(1, "axes")
    if not axes and node.attributes.get("noop_with_empty_axes"):
        note_batch(node, node.batch_axis())
        return []
    if not axes:
        raise CaptureError("it reduces the batch")
    dims, rank, batch = [node.axis(axis) for axis in axes], len(node.whole()), node.batch_axis()
    before = 0 if node.attributes.get("keepdims", 1) else sum(axis % rank < batch for axis in axes)
    note_batch(node, batch - before)
    return dims


@rule("Einsum")
def einsum(node: Node) -> fx.Node:
    """A product of rows with a matrix is a linear layer; two computed operands multiply as torch says."""
    equation = node.attributes["equation"].decode().replace(" ", "")
    operands, _, result = equation.partition("->")
    terms = operands.split(",")
    if "." in equation or not result:
        raise CaptureError(f"the equation {equation!r}")
    if len(terms) == 2 and node.is_constant(1) and not node.is_constant(0) and len(terms[1]) == 2:
        left, right = terms
        if left[-1] == right[0] and result == left[:-1] + right[1]:
            return linear(node, transposed=False, bias=False)
        if left[-1] == right[1] and result == left[:-1] + right[0]:
            return linear(node, transposed=True, bias=False)
    samples = {term[0] for at, term in enumerate(terms) if not node.is_constant(at)}
    shared = all(result[0] not in term for at, term in enumerate(terms) if node.is_constant(at))
    if samples != {result[0]} or not shared or any(term.count(result[0]) > 1 for term in terms):
        raise CaptureError(f"the equation {equation!r}, in which samples are not the first letter of every value")
    factors = [node.state.operand(name, tensor=True) for name in node.inputs]
    return node.apply(aten.einsum.default, equation, factors)


@rule("CumSum")
def running_sum(node: Node) -> fx.Node:
    if node.attributes.get("exclusive") or node.attributes.get("reverse"):
        raise CaptureError("a running sum that leaves out its end, or runs backwards")
    return node.apply(torch.cumsum, node.tensor(), node.axis(int(node.constant(1).item())))
