"""Activations, softmax, and the layers that vanish at inference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from compressor.errors import ExportError
from compressor.export.rules.registry import Rule, rule
from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_out.builder import GraphBuilder, Operand


def _one_op(op_type: str, attributes: Callable[[Any], dict[str, Any]] = lambda _: {}) -> Rule:
    def emit(b: GraphBuilder, layer: nn.Module, x: Operand) -> OnnxValue:
        return b.op(op_type, [x.value], **attributes(layer))

    return emit


rule(nn.ReLU)(_one_op("Relu"))
rule(nn.Sigmoid)(_one_op("Sigmoid"))
rule(nn.Tanh)(_one_op("Tanh"))
rule(nn.Softsign)(_one_op("Softsign"))
rule(nn.Mish)(_one_op("Mish"))
rule(nn.Hardswish)(_one_op("HardSwish"))
rule(nn.Hardsigmoid)(_one_op("HardSigmoid", lambda _: {"alpha": 1 / 6, "beta": 0.5}))
rule(nn.LeakyReLU)(_one_op("LeakyRelu", lambda m: {"alpha": float(m.negative_slope)}))
rule(nn.RReLU)(_one_op("LeakyRelu", lambda m: {"alpha": (m.lower + m.upper) / 2}))
rule(nn.ELU)(_one_op("Elu", lambda m: {"alpha": float(m.alpha)}))
rule(nn.CELU)(_one_op("Celu", lambda m: {"alpha": float(m.alpha)}))
rule(nn.SELU)(_one_op("Selu", lambda _: {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}))
rule(nn.Softshrink)(_one_op("Shrink", lambda m: {"lambd": float(m.lambd), "bias": float(m.lambd)}))
rule(nn.Hardshrink)(_one_op("Shrink", lambda m: {"lambd": float(m.lambd), "bias": 0.0}))


@rule(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
def nothing(b: GraphBuilder, layer: nn.Module, x: Operand) -> OnnxValue:
    return x.value


@rule(nn.ReLU6, nn.Hardtanh)
def clip(b: GraphBuilder, layer: nn.Hardtanh, x: Operand) -> OnnxValue:
    return b.op("Clip", [x.value, b.scalar(layer.min_val), b.scalar(layer.max_val)])


@rule(nn.SiLU)
def silu(b: GraphBuilder, layer: nn.SiLU, x: Operand) -> OnnxValue:
    return b.op("Mul", [x.value, b.op("Sigmoid", [x.value])])


@rule(nn.GELU)
def gelu(b: GraphBuilder, layer: nn.GELU, x: Operand) -> OnnxValue:
    if b.opset >= 20:
        return b.op("Gelu", [x.value], approximate=layer.approximate)
    if layer.approximate != "none":
        raise ExportError(f"the tanh form of GELU needs opset 20 or later, not {b.opset}")
    half = b.op("Mul", [x.value, b.scalar(0.5)])
    bell = b.op("Erf", [b.op("Mul", [x.value, b.scalar(0.5**0.5)])])
    return b.op("Mul", [half, b.op("Add", [bell, b.scalar(1.0)])])


@rule(nn.Softplus)
def softplus(b: GraphBuilder, layer: nn.Softplus, x: Operand) -> OnnxValue:
    """log(1 + exp(βx))/β; torch goes over to x itself above a threshold, which only shows where that is low."""
    if layer.beta == 1 and layer.threshold >= 20:
        return b.op("Softplus", [x.value])
    beta = b.scalar(float(layer.beta))
    scaled = b.op("Mul", [x.value, beta])
    soft = b.op("Div", [b.op("Softplus", [scaled]), beta])
    return b.op("Where", [b.op("Greater", [scaled, b.scalar(float(layer.threshold))]), x.value, soft])


@rule(nn.LogSigmoid)
def log_sigmoid(b: GraphBuilder, layer: nn.LogSigmoid, x: Operand) -> OnnxValue:
    return b.op("Neg", [b.op("Softplus", [b.op("Neg", [x.value])])])


@rule(nn.Tanhshrink)
def tanhshrink(b: GraphBuilder, layer: nn.Tanhshrink, x: Operand) -> OnnxValue:
    return b.op("Sub", [x.value, b.op("Tanh", [x.value])])


@rule(nn.Threshold)
def threshold(b: GraphBuilder, layer: nn.Threshold, x: Operand) -> OnnxValue:
    above = b.op("Greater", [x.value, b.scalar(layer.threshold)])
    return b.op("Where", [above, x.value, b.scalar(layer.value)])


@rule(nn.PReLU)
def prelu(b: GraphBuilder, layer: nn.PReLU, x: Operand) -> OnnxValue:
    slope = layer.weight if layer.num_parameters == 1 else layer.weight.view(-1, *[1] * (len(x.sample) - 1))
    return b.op("PRelu", [x.value, b.weight(slope)])


@rule(nn.GLU)
def glu(b: GraphBuilder, layer: nn.GLU, x: Operand) -> OnnxValue:
    axis = sample_axis(layer.dim, x)
    half = x.sizes[axis] // 2
    left, right = b.ops("Split", [x.value, b.integers([half, half])], 2, axis=axis)
    return b.op("Mul", [left, b.op("Sigmoid", [right])])


@rule(nn.Softmax, nn.LogSoftmax, nn.Softmin)
def softmax(b: GraphBuilder, layer: nn.Softmax, x: Operand) -> OnnxValue:
    if layer.dim is None:
        raise ExportError("softmax without an explicit dim")
    value = b.op("Neg", [x.value]) if isinstance(layer, nn.Softmin) else x.value
    kind = "LogSoftmax" if isinstance(layer, nn.LogSoftmax) else "Softmax"
    return b.op(kind, [value], axis=sample_axis(layer.dim, x))


@rule(nn.Softmax2d)
def softmax_over_channels(b: GraphBuilder, layer: nn.Softmax2d, x: Operand) -> OnnxValue:
    return b.op("Softmax", [x.value], axis=1)


def sample_axis(dim: int, x: Operand) -> int:
    """A torch dimension as a positive axis. Raises ``ExportError`` for the batch dimension."""
    rank = x.rank
    axis = dim % rank
    if not -rank <= dim < rank or x.sizes[axis] < 0:
        raise ExportError(f"dimension {dim} of a value of rank {rank} is no axis of a sample")
    return axis
