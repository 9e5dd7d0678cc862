"""ONNX operators on bytes and flags, read as floats of the same values: whole numbers up to 2²⁴ are exact in float32.

Such layers are dense float layers in the network; only their numbers stay what they were.
"""

from __future__ import annotations

import operator

import torch
from torch import Tensor, fx, nn

from compressor.errors import CaptureError
from compressor.graph.onnx_in.layers import convolution, linear
from compressor.graph.onnx_in.node import Node, rule


@rule("GreaterOrEqual")
def at_least(node: Node) -> fx.Node:
    """Flags, 1 and 0, for Where and Cast to use."""
    bound = node.derived(1, node.constant(1).float(), "bound")
    flags = node.apply(torch.ge, node.tensor(), node.state.operand(bound))
    flags = node.apply(torch.ops.aten.to.dtype, flags, torch.float32)
    flags.meta["flags"] = True
    return flags


@rule("Where")
def choice(node: Node) -> fx.Node:
    flags, values = node.tensor(), (node.constant(1), node.constant(2))
    if not flags.meta.get("flags") or any(value.numel() != 1 for value in values):
        raise CaptureError("a choice by what is no comparison, or between tensors")
    yes, no = (float(value.item()) for value in values)
    chosen = flags if yes - no == 1 else node.apply(operator.mul, flags, yes - no)
    return node.apply(operator.add, chosen, no) if no else chosen


@rule("MatMulInteger")
def product(node: Node) -> fx.Node:
    weight = node.constant(1)
    offset = _zero_point(node, 2, weight.shape[-1])
    if node.given(3) and bool(node.constant(3).any()):
        raise CaptureError("weights with a zero point")
    turned = node.derived(1, weight.t().float(), "float")
    return linear(node.replaced([_moved(node, node.tensor(), offset), turned]), transposed=True, bias=False)


@rule("MatMulIntegerToFloat")
def scaled_product(node: Node) -> fx.Node:
    """ONNX Runtime's own: a product of integers, times a scale per column, plus a bias."""
    if node.given(4) or node.given(5) or not node.given(6):
        raise CaptureError("zero points, or no bias")
    weight = node.constant(1).float() * node.constant(2) * node.constant(3)
    inputs = [node.inputs[0], node.derived(1, weight.t(), "float"), node.inputs[6]]
    return linear(node.replaced(inputs), transposed=True, bias=True)


@rule("QLinearConv")
def convolution_of_bytes(node: Node) -> fx.Node:
    """round((x − zero) ∗ w · scale) + zero, within the bounds of a byte."""
    if bool(node.constant(5).any()) or any(node.constant(place).numel() != 1 for place in (1, 2, 4, 6, 7)):
        raise CaptureError("weights with a zero point, or several scales")
    factor = float(node.constant(1) * node.constant(4) / node.constant(6))
    zero = node.constant(7)
    bias = torch.zeros(len(node.constant(3))) if not node.given(8) else node.constant(8).float() * factor
    names = [node.derived(3, node.constant(3).float() * factor, "float"), node.derived(7, bias + zero, "bias")]
    sums = convolution(node.replaced([_moved(node, node.tensor(), _zero_point(node, 2, 1)), *names]))
    if factor != round(factor):
        sums = node.apply(torch.round, sums)
    low, high = torch.iinfo(zero.dtype).min, torch.iinfo(zero.dtype).max
    return node.leaf(nn.Hardtanh(low, high), sums)


@rule("DequantizeLinear")
def floats(node: Node) -> fx.Node:
    scale = node.constant(1)
    zero = node.constant(2).float() if node.given(2) else torch.zeros(1)
    if scale.numel() == 1 and zero.numel() == 1:
        value = node.apply(operator.sub, node.tensor(), zero.item())
        return node.apply(operator.mul, value, scale.item())
    rank = len(node.sample())
    if node.axis(node.attributes.get("axis", 1)) != 1:
        raise CaptureError("a scale per anything but channel")
    value = node.apply(operator.sub, node.tensor(), _per_channel(node, zero, "zero", rank))
    return node.apply(operator.mul, value, _per_channel(node, scale, "scale", rank))


def _per_channel(node: Node, values: Tensor, name: str, rank: int) -> fx.Node | float:
    return node.state.operand(node.derived(1, values.reshape(-1, *[1] * (rank - 1)), name))


def _zero_point(node: Node, position: int, count: int) -> float:
    if not node.given(position):
        return 0.0
    zero = node.constant(position)
    if zero.numel() != 1:
        raise CaptureError(f"{zero.numel()} zero points for the input")
    return float(zero.item())


def _moved(node: Node, value: fx.Node, zero: float) -> str:
    """The name of the input less its zero point."""
    if not zero:
        return node.inputs[0]
    name = f"{node.outputs[0]} centred"
    node.state.nodes[name] = node.apply(operator.sub, value, zero)
    return name
