"""Smooth activations, and those made of straight pieces in their likeness."""

from __future__ import annotations

import math
import operator

from torch import fx, nn

from compressor.errors import CaptureError, ExportError
from compressor.graph.layers.elementwise import elementwise, one_layer, one_operator, with_settings
from compressor.graph.layers.kind import NOT_CAPTURED, NOT_READ, Integers
from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_out.builder import GraphBuilder, Operand

# --- hard sigmoid ----------------------------------------------------------------------------------------------------


def _read_hard_sigmoid(node: Node) -> fx.Node:
    """min(max(αx + β, 0), 1); torch has a module for α = 1/6, ONNX's default is 0.2."""
    alpha, beta = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-5) and beta == 0.5:
        return node.leaf(nn.Hardsigmoid(), node.tensor())
    line = node.apply(operator.add, node.apply(operator.mul, node.tensor(), alpha), beta)
    return node.leaf(nn.Hardtanh(0.0, 1.0), line)


# --- GELU ------------------------------------------------------------------------------------------------------------


def _emit_gelu(b: GraphBuilder, layer: nn.GELU, x: Operand) -> OnnxValue:
    if b.opset >= 20:
        return b.op("Gelu", [x.value], approximate=layer.approximate)
    if layer.approximate != "none":
        raise ExportError(f"the tanh form of GELU needs opset 20 or later, not {b.opset}")
    half = b.op("Mul", [x.value, b.scalar(0.5)])
    bell = b.op("Erf", [b.op("Mul", [x.value, b.scalar(0.5**0.5)])])
    return b.op("Mul", [half, b.op("Add", [bell, b.scalar(1.0)])])


def _read_fast_gelu(node: Node) -> fx.Node:
    if node.given(1):
        raise CaptureError("a bias inside the activation")
    return node.leaf(nn.GELU("tanh"), node.tensor())


# --- SiLU ------------------------------------------------------------------------------------------------------------


def _emit_silu(b: GraphBuilder, layer: nn.SiLU, x: Operand) -> OnnxValue:
    return b.op("Mul", [x.value, b.op("Sigmoid", [x.value])])


def _read_swish(node: Node) -> fx.Node:
    if (alpha := node.attributes.get("alpha", 1.0)) == 1:
        return node.leaf(nn.SiLU(), node.tensor())
    gate = node.leaf(nn.Sigmoid(), node.apply(operator.mul, node.tensor(), alpha))
    return node.apply(operator.mul, node.tensor(), gate)


def _read_quick_gelu(node: Node) -> fx.Node:
    scaled = node.apply(operator.mul, node.tensor(), node.attributes.get("alpha", 1.702))
    return node.apply(operator.mul, node.tensor(), node.leaf(nn.Sigmoid(), scaled))


# --- soft rectifiers -------------------------------------------------------------------------------------------------


def _emit_softplus(b: GraphBuilder, layer: nn.Softplus, x: Operand) -> OnnxValue:
    """log(1 + exp(βx))/β; torch goes over to x itself above a threshold, which only shows where that is low."""
    if layer.beta == 1 and layer.threshold >= 20:
        return b.op("Softplus", [x.value])
    beta = b.scalar(float(layer.beta))
    scaled = b.op("Mul", [x.value, beta])
    soft = b.op("Div", [b.op("Softplus", [scaled]), beta])
    return b.op("Where", [b.op("Greater", [scaled, b.scalar(float(layer.threshold))]), x.value, soft])


def _emit_log_sigmoid(b: GraphBuilder, layer: nn.LogSigmoid, x: Operand) -> OnnxValue:
    return b.op("Neg", [b.op("Softplus", [b.op("Neg", [x.value])])])


# --- shrinking -------------------------------------------------------------------------------------------------------


def _emit_tanhshrink(b: GraphBuilder, layer: nn.Tanhshrink, x: Operand) -> OnnxValue:
    return b.op("Sub", [x.value, b.op("Tanh", [x.value])])


def _read_shrink(node: Node) -> fx.Node:
    threshold, bias = node.attributes.get("lambd", 0.5), node.attributes.get("bias", 0.0)
    if bias not in (0.0, threshold):
        raise CaptureError(f"a threshold of {threshold:g} with an offset of {bias:g}")
    return node.leaf(nn.Hardshrink(threshold) if bias == 0 else nn.Softshrink(threshold), node.tensor())


KINDS = (
    elementwise(
        nn.Sigmoid,
        captured={"aten.sigmoid": with_settings(nn.Sigmoid)},
        emit=one_operator("Sigmoid"),
        read={"Sigmoid": one_layer(lambda node: nn.Sigmoid())},
        integers=Integers.COMPUTES,
    ),
    elementwise(
        nn.Tanh,
        captured={"aten.tanh": with_settings(nn.Tanh)},
        emit=one_operator("Tanh"),
        read={"Tanh": one_layer(lambda node: nn.Tanh())},
    ),
    elementwise(
        nn.Hardsigmoid,
        captured={"aten.hardsigmoid": with_settings(nn.Hardsigmoid)},
        emit=one_operator("HardSigmoid", lambda _: {"alpha": 1 / 6, "beta": 0.5}),
        read={"HardSigmoid": _read_hard_sigmoid},
    ),
    elementwise(
        nn.Hardswish,
        captured={"aten.hardswish": with_settings(nn.Hardswish)},
        emit=one_operator("HardSwish"),
        read={"HardSwish": one_layer(lambda node: nn.Hardswish())},
    ),
    elementwise(
        nn.GELU,
        captured={"aten.gelu": with_settings(nn.GELU, approximate="none")},
        emit=_emit_gelu,
        read={
            "Gelu": one_layer(lambda node: nn.GELU(node.attributes.get("approximate", b"none").decode())),
            "FastGelu": _read_fast_gelu,
        },
    ),
    elementwise(
        nn.SiLU,
        captured={"aten.silu": with_settings(nn.SiLU)},
        emit=_emit_silu,
        read={"Swish": _read_swish, "QuickGelu": _read_quick_gelu},
    ),
    elementwise(
        nn.Mish,
        captured={"aten.mish": with_settings(nn.Mish)},
        emit=one_operator("Mish"),
        read={"Mish": one_layer(lambda node: nn.Mish())},
    ),
    elementwise(
        nn.Softplus,
        captured={"aten.softplus": with_settings(nn.Softplus, beta=1, threshold=20)},
        emit=_emit_softplus,
        read={"Softplus": one_layer(lambda node: nn.Softplus())},
    ),
    elementwise(
        nn.LogSigmoid,
        captured={"aten.log_sigmoid": with_settings(nn.LogSigmoid)},
        emit=_emit_log_sigmoid,
        read=NOT_READ,
    ),
    elementwise(
        nn.Softsign,
        captured=NOT_CAPTURED,
        emit=one_operator("Softsign"),
        read={"Softsign": one_layer(lambda node: nn.Softsign())},
    ),
    elementwise(nn.Tanhshrink, captured=NOT_CAPTURED, emit=_emit_tanhshrink, read=NOT_READ),
    elementwise(
        nn.Softshrink,
        captured={"aten.softshrink": with_settings(nn.Softshrink, lambd=0.5)},
        emit=one_operator("Shrink", lambda layer: {"lambd": float(layer.lambd), "bias": float(layer.lambd)}),
        read={"Shrink": _read_shrink},
    ),
    elementwise(
        nn.Hardshrink,
        captured={"aten.hardshrink": with_settings(nn.Hardshrink, lambd=0.5)},
        emit=one_operator("Shrink", lambda layer: {"lambd": float(layer.lambd), "bias": 0.0}),
        read={"Shrink": _read_shrink},
    ),
)
