"""Activations with a bend: rectifiers and their leaky, exponential and clipped forms, all without weights."""

from __future__ import annotations

import math
import operator
from typing import Final

import torch
from torch import fx, nn

from compressor.graph.layers.elementwise import elementwise, one_layer, one_operator, with_settings
from compressor.graph.layers.kind import NOT_READ, Integers
from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_out.builder import GraphBuilder, Operand
from compressor.graph.traced.call import Call
from compressor.graph.traced.layer import Layer

_SELU: Final = (1.6732632423543772, 1.0507009873554805)
"""α and γ of "Self-Normalizing Neural Networks" (Klambauer et al., 2017), ONNX's defaults."""

# --- clipping --------------------------------------------------------------------------------------------------------


def _captured_clip(call: Call) -> Layer:
    low, high = call.get("min_val", -1), call.get("max_val", 1)
    return Layer(nn.ReLU6() if (low, high) == (0, 6) else nn.Hardtanh(low, high))


def _emit_clip(b: GraphBuilder, layer: nn.Hardtanh, x: Operand) -> OnnxValue:
    return b.op("Clip", [x.value, b.scalar(layer.min_val), b.scalar(layer.max_val)])


def _read_clip(node: Node) -> fx.Node:
    low, high = node.number(1, "min", -math.inf), node.number(2, "max", math.inf)
    if (low, high) == (0.0, 6.0):
        return node.leaf(nn.ReLU6(), node.tensor())
    if low == 0.0 and high >= torch.finfo(torch.float32).max:
        return node.leaf(nn.ReLU(), node.tensor())
    if math.isfinite(low) and math.isfinite(high) and low < high:
        return node.leaf(nn.Hardtanh(low, high), node.tensor())
    bounds = (None if math.isinf(bound) else bound for bound in (low, high))
    return (
        node.apply(torch.clamp, node.tensor(), *bounds) if math.isfinite(low) or math.isfinite(high) else node.tensor()
    )


# --- leaky and exponential -------------------------------------------------------------------------------------------


def _captured_rrelu(call: Call) -> Layer:
    return Layer(nn.RReLU(call.get("lower", 1 / 8), call.get("upper", 1 / 3)))


def _captured_elu(call: Call) -> Layer | None:
    scaled = (call.get("scale", 1), call.get("input_scale", 1)) != (1, 1)
    return None if scaled else Layer(nn.ELU(call.get("alpha", 1.0)))


def _read_selu(node: Node) -> fx.Node:
    """γ·ELU(x, α)."""
    alpha, gamma = node.attributes.get("alpha", _SELU[0]), node.attributes.get("gamma", _SELU[1])
    if all(math.isclose(own, usual, rel_tol=1e-4) for own, usual in zip((alpha, gamma), _SELU, strict=True)):
        return node.leaf(nn.SELU(), node.tensor())
    return node.apply(operator.mul, node.leaf(nn.ELU(alpha), node.tensor()), gamma)


# --- thresholds ------------------------------------------------------------------------------------------------------


def _emit_threshold(b: GraphBuilder, layer: nn.Threshold, x: Operand) -> OnnxValue:
    above = b.op("Greater", [x.value, b.scalar(layer.threshold)])
    return b.op("Where", [above, x.value, b.scalar(layer.value)])


KINDS = (
    elementwise(
        nn.ReLU,
        captured={"aten.relu": with_settings(nn.ReLU)},
        emit=one_operator("Relu"),
        read={"Relu": one_layer(lambda node: nn.ReLU()), "Clip": _read_clip},
        integers=Integers.COMPUTES,
        clips=True,
    ),
    elementwise(
        nn.ReLU6,
        captured={"aten.relu6": with_settings(nn.ReLU6), "aten.hardtanh": _captured_clip},
        emit=_emit_clip,
        read={"Clip": _read_clip},
        integers=Integers.COMPUTES,
        clips=True,
    ),
    elementwise(
        nn.Hardtanh, captured={"aten.hardtanh": _captured_clip}, emit=_emit_clip, read={"Clip": _read_clip}, clips=True
    ),
    elementwise(
        nn.LeakyReLU,
        captured={"aten.leaky_relu": with_settings(nn.LeakyReLU, negative_slope=0.01)},
        emit=one_operator("LeakyRelu", lambda layer: {"alpha": float(layer.negative_slope)}),
        read={"LeakyRelu": one_layer(lambda node: nn.LeakyReLU(node.attributes.get("alpha", 0.01)))},
        integers=Integers.COMPUTES,
    ),
    elementwise(
        nn.RReLU,
        captured={"aten.rrelu": _captured_rrelu},
        emit=one_operator("LeakyRelu", lambda layer: {"alpha": (layer.lower + layer.upper) / 2}),
        read=NOT_READ,
    ),
    elementwise(
        nn.ELU,
        captured={"aten.elu": _captured_elu},
        emit=one_operator("Elu", lambda layer: {"alpha": float(layer.alpha)}),
        read={"Elu": one_layer(lambda node: nn.ELU(node.attributes.get("alpha", 1.0)))},
    ),
    elementwise(
        nn.CELU,
        captured={"aten.celu": with_settings(nn.CELU, alpha=1.0)},
        emit=one_operator("Celu", lambda layer: {"alpha": float(layer.alpha)}),
        read={"Celu": one_layer(lambda node: nn.CELU(node.attributes.get("alpha", 1.0)))},
    ),
    elementwise(
        nn.SELU,
        captured={"aten.selu": with_settings(nn.SELU)},
        emit=one_operator("Selu", lambda _: {"alpha": _SELU[0], "gamma": _SELU[1]}),
        read={"Selu": _read_selu},
    ),
    elementwise(
        nn.Threshold,
        captured={"aten.threshold": with_settings(nn.Threshold, threshold=0, value=0)},
        emit=_emit_threshold,
        read={"ThresholdedRelu": one_layer(lambda node: nn.Threshold(node.attributes.get("alpha", 1.0), 0.0))},
    ),
)
