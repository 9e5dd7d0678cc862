"""ONNX's quantized operators. A network holds what the bytes stand for, rounded as the file rounds it.

QuantizeLinear becomes torch's fake quantization, which lets gradients through, so that such a file can be trained on;
DequantizeLinear of its result is the same value. Layers between quantized values are layers of floats between fake
quantizations. Bytes without a scale of their own, as files written here have them, are their own numbers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from compressor.errors import CaptureError
from compressor.graph.layers.conv import read_convolution as convolution
from compressor.graph.layers.linear import read_linear as linear
from compressor.graph.onnx_in.rules import RULES, rule
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_node.quantities import Quantity, quantity

_FAKE = torch.ops.aten.fake_quantize_per_tensor_affine.default


@rule("QuantizeLinear")
def quantize(node: Node) -> fx.Node:
    zero = node.constant(2) if node.given(2) else None
    return quantized(node, node.tensor(), quantity(node.constant(1), zero))


def quantized(node: Node, value: fx.Node, by: Quantity) -> fx.Node:
    """The value, rounded to what ``by`` can say."""
    node.state.quantities[node.outputs[0]] = by
    return node.apply(_FAKE, value, by.scale, by.zero, by.low, by.high)


@rule("DequantizeLinear")
def dequantize(node: Node) -> fx.Node:
    if (noted := node.quantity()) is not None:
        asked = quantity(node.constant(1), node.constant(2) if node.given(2) else None)
        if (asked.scale, asked.zero) != (noted.scale, noted.zero):
            raise CaptureError("another scale or zero point than what the values were quantized with")
        return node.tensor()
    return _scaled(node)


def _scaled(node: Node) -> fx.Node:
    """(q − zero) · scale of bytes that are their own numbers."""
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


# --- layers between quantized values ---------------------------------------------------------------------------------


def _noted(node: Node, position: int) -> fx.Node:
    """A quantized input, whose scale and zero point follow it, as the numbers it stands for."""
    value, noted = node.tensor(position), node.quantity(position)
    asked = quantity(node.constant(position + 1), node.constant(position + 2) if node.given(position + 2) else None)
    if noted is None or (noted.scale, noted.zero) != (asked.scale, asked.zero):
        raise CaptureError("bytes of another scale or zero point than it says")
    return value


def _weights(node: Node, position: int, axis: int) -> Tensor:
    """Quantized weights as floats; scales and zero points follow them."""
    values, scale = node.constant(position).float(), node.constant(position + 1).float()
    zero = node.constant(position + 2).float() if node.given(position + 2) else torch.zeros(())
    shape = [1] * values.dim()
    shape[axis] = -1
    return (values - zero.reshape(shape)) * scale.reshape(shape)


def _output(node: Node, scale: int) -> Quantity:
    return quantity(node.constant(scale), node.constant(scale + 1) if node.given(scale + 1) else None)


@rule("QLinearConv")
def convolution_of_bytes(node: Node) -> fx.Node:
    if node.quantity() is None:
        return _convolution_of_numbers(node)
    value = _noted(node, 0)
    names = [node.named(value, "input"), node.derived(3, _weights(node, 3, 0), "float")]
    if node.given(8):
        scale = node.constant(1) * node.constant(4).float().reshape(-1)
        names.append(node.derived(8, node.constant(8).float() * scale, "float"))
    return quantized(node, convolution(node.replaced(names)), _output(node, 6))


def _convolution_of_numbers(node: Node) -> fx.Node:
    """round((x − zero) ∗ w · scale) + zero, within the bounds of a byte."""
    if bool(node.constant(5).any()) or any(node.constant(place).numel() != 1 for place in (1, 2, 4, 6, 7)):
        raise CaptureError("weights with a zero point, or several scales")
    factor = float(node.constant(1) * node.constant(4) / node.constant(6))
    zero = node.constant(7)
    bias = torch.zeros(len(node.constant(3))) if not node.given(8) else node.constant(8).float() * factor
    names = [node.derived(3, node.constant(3).float() * factor, "float"), node.derived(7, bias + zero, "bias")]
    sums = convolution(node.replaced([_moved(node, node.tensor(), _zero_point(node, 2)), *names]))
    if factor != round(factor):
        sums = node.apply(torch.round, sums)
    low, high = torch.iinfo(zero.dtype).min, torch.iinfo(zero.dtype).max
    return node.leaf(nn.Hardtanh(low, high), sums)


@rule("QLinearMatMul")
def product_of_bytes(node: Node) -> fx.Node:
    names = [node.named(_noted(node, 0), "input"), node.derived(3, _weights(node, 3, -1), "float")]
    return quantized(node, linear(node.replaced(names), transposed=False, bias=False), _output(node, 6))


@rule("QGemm")
def gemm_of_bytes(node: Node) -> fx.Node:
    if node.attributes.get("transA"):
        raise CaptureError("a turned first factor")
    turned, alpha = bool(node.attributes.get("transB")), node.attributes.get("alpha", 1.0)
    weight = _weights(node, 3, 0 if turned else -1) * alpha
    names = [node.named(_noted(node, 0), "input"), node.derived(3, weight, "float")]
    if node.given(6):
        scale = node.constant(1) * node.constant(4).float().reshape(-1) * alpha
        names.append(node.derived(6, node.constant(6).float() * scale, "float"))
    result = linear(node.replaced(names), transposed=turned, bias=node.given(6))
    return quantized(node, result, _output(node, 7)) if node.given(7) else result


@rule("QLinearAdd", "QLinearMul")
def arithmetic_of_bytes(node: Node) -> fx.Node:
    function = operator.add if node.operator == "QLinearAdd" else operator.mul
    operands: list[Any] = []
    for at in (0, 3):
        if node.is_constant(at):
            operands.append(node.state.operand(node.derived(at, _weights(node, at, 0), "float")))
        else:
            operands.append(_noted(node, at))
    return quantized(node, node.apply(function, *operands), _output(node, 6))


@rule("QLinearConcat")
def joined_bytes(node: Node) -> fx.Node:
    """Scale and zero point of the result come first, then value, scale and zero point of each part."""
    parts = [_noted(node, at) for at in range(2, len(node.inputs), 3)]
    joined = node.apply(torch.cat, parts, node.axis(node.attributes["axis"], 2))
    return quantized(node, joined, _output(node, 0))


_UNARY: dict[str, str] = {
    "QLinearAveragePool": "AveragePool",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearSigmoid": "Sigmoid",
    "QLinearSoftmax": "Softmax",
}


@rule(*_UNARY)
def function_of_bytes(node: Node) -> fx.Node:
    """The operator on floats, between quantizations."""
    if node.attributes.get("channels_last"):
        raise CaptureError("images with their channels last")
    name = node.named(_noted(node, 0), "input")
    apply: Callable[[Node], fx.Node] = RULES[_UNARY[node.operator]]
    plain_node = Node(_UNARY[node.operator], node.name, [name], node.outputs, node.attributes, node.state)
    return quantized(node, apply(plain_node), _output(node, 3))


# --- whole numbers without a scale -----------------------------------------------------------------------------------


@rule("MatMulInteger")
def product_of_numbers(node: Node) -> fx.Node:
    weight = node.constant(1)
    offset = _zero_point(node, 2)
    if node.given(3) and bool(node.constant(3).any()):
        raise CaptureError("weights with a zero point")
    turned = node.derived(1, weight.t().float(), "float")
    result = linear(node.replaced([_moved(node, node.tensor(), offset), turned]), transposed=True, bias=False)
    result.meta["whole"] = True
    return result


@rule("MatMulIntegerToFloat")
def scaled_product(node: Node) -> fx.Node:
    """ONNX Runtime's own: a product of integers, times a scale per column, plus a bias."""
    if node.given(4) or node.given(5) or not node.given(6):
        raise CaptureError("zero points, or no bias")
    weight = node.constant(1).float() * node.constant(2) * node.constant(3)
    inputs = [node.inputs[0], node.derived(1, weight.t(), "float"), node.inputs[6]]
    return linear(node.replaced(inputs), transposed=True, bias=True)


def _zero_point(node: Node, position: int) -> float:
    if not node.given(position):
        return 0.0
    zero = node.constant(position)
    if zero.numel() != 1:
        raise CaptureError(f"{zero.numel()} zero points for the input")
    return float(zero.item())


def _moved(node: Node, value: fx.Node, zero: float) -> str:
    """The name of the input less its zero point."""
    return node.named(node.apply(operator.sub, value, zero), "centred") if zero else node.inputs[0]
