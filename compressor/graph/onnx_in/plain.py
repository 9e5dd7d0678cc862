"""ONNX operators without weights that become modules: activations, pooling, dropout, padding."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx, nn

from compressor.errors import CaptureError
from compressor.graph.onnx_in.node import Node, rule
from compressor.graph.onnx_in.space import pad_layer, padded

_MAX_POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
_AVERAGE_POOLS = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
_GLOBAL_POOLS: dict[str, dict[int, Callable[..., nn.Module]]] = {
    "GlobalAveragePool": {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d},
    "GlobalMaxPool": {1: nn.AdaptiveMaxPool1d, 2: nn.AdaptiveMaxPool2d, 3: nn.AdaptiveMaxPool3d},
}
_ACTIVATIONS: dict[str, Callable[[Node], nn.Module]] = {
    "Relu": lambda node: nn.ReLU(),
    "LeakyRelu": lambda node: nn.LeakyReLU(node.attributes.get("alpha", 0.01)),
    "Elu": lambda node: nn.ELU(node.attributes.get("alpha", 1.0)),
    "Celu": lambda node: nn.CELU(node.attributes.get("alpha", 1.0)),
    "Gelu": lambda node: nn.GELU(node.attributes.get("approximate", b"none").decode()),
    "HardSwish": lambda node: nn.Hardswish(),
    "Mish": lambda node: nn.Mish(),
    "Sigmoid": lambda node: nn.Sigmoid(),
    "Softplus": lambda node: nn.Softplus(),
    "Softsign": lambda node: nn.Softsign(),
    "Tanh": lambda node: nn.Tanh(),
}


@rule(*_ACTIVATIONS)
def activation(node: Node) -> fx.Node:
    return node.leaf(_ACTIVATIONS[node.operator](node), node.tensor())


@rule("HardSigmoid")
def hard_sigmoid(node: Node) -> fx.Node:
    alpha, beta = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
    if not math.isclose(alpha, 1 / 6, rel_tol=1e-5) or beta != 0.5:
        raise CaptureError(f"slope {alpha:.3g} and offset {beta:.3g}; only 1/6 and 1/2 are supported")
    return node.leaf(nn.Hardsigmoid(), node.tensor())


@rule("Selu")
def selu(node: Node) -> fx.Node:
    if node.attributes.keys() & {"alpha", "gamma"}:
        raise CaptureError("constants of its own")
    return node.leaf(nn.SELU(), node.tensor())


@rule("Softmax", "LogSoftmax")
def softmax(node: Node) -> fx.Node:
    axis = node.axis(node.attributes.get("axis", -1))
    return node.leaf(nn.Softmax(axis) if node.operator == "Softmax" else nn.LogSoftmax(axis), node.tensor())


@rule("Clip")
def clip(node: Node) -> fx.Node:
    low, high = node.number(1, "min", -math.inf), node.number(2, "max", math.inf)
    if (low, high) == (0.0, 6.0):
        return node.leaf(nn.ReLU6(), node.tensor())
    if (low, high) == (0.0, math.inf):
        return node.leaf(nn.ReLU(), node.tensor())
    if math.isfinite(low) and math.isfinite(high) and low < high:
        return node.leaf(nn.Hardtanh(low, high), node.tensor())
    bounds = (None if math.isinf(bound) else bound for bound in (low, high))
    return node.apply(torch.clamp, node.tensor(), *bounds)


@rule("Dropout")
def dropout(node: Node) -> fx.Node:
    return node.leaf(nn.Dropout(node.number(1, "ratio", 0.5)), node.tensor())


@rule("MaxPool", "AveragePool")
def pool(node: Node) -> fx.Node:
    kernel = list(node.attributes["kernel_shape"])
    count = len(kernel)
    if count not in _MAX_POOLS or len(node.sample()) != count + 1:
        raise CaptureError(f"a window of sizes {kernel} over samples of {node.sample()}")
    strides = node.attributes.get("strides", [1] * count)
    dilations = node.attributes.get("dilations", [1] * count)
    ceil = bool(node.attributes.get("ceil_mode", 0))
    if node.operator == "MaxPool":
        value, padding = padded(node, kernel, strides, dilations, -math.inf)
        settings = (tuple(kernel), tuple(strides), padding, tuple(dilations))
        return node.leaf(_MAX_POOLS[count](*settings, ceil_mode=ceil), value)
    return _average_pool(node, kernel, strides, dilations, ceil)


def _average_pool(
    node: Node, kernel: list[int], strides: Sequence[int], dilations: Sequence[int], ceil: bool
) -> fx.Node:
    counts_pads = bool(node.attributes.get("count_include_pad", 0))
    value, padding = padded(node, kernel, strides, dilations)
    if any(dilation != 1 for dilation in dilations) or (value is not node.tensor() and not counts_pads):
        raise CaptureError("a dilated window, or padding that differs between the sides and does not count")
    kind: Any = _AVERAGE_POOLS[len(kernel)]
    return node.leaf(kind(tuple(kernel), tuple(strides), padding, ceil, counts_pads), value)


@rule(*_GLOBAL_POOLS)
def global_pool(node: Node) -> fx.Node:
    count = len(node.sample()) - 1
    kind = _GLOBAL_POOLS[node.operator].get(count)
    if kind is None:
        raise CaptureError(f"samples of {node.sample()}")
    return node.leaf(kind(1 if count == 1 else (1,) * count), node.tensor())


@rule("LRN")
def response_norm(node: Node) -> fx.Node:
    get = node.attributes.get
    layer = nn.LocalResponseNorm(node.attributes["size"], get("alpha", 1e-4), get("beta", 0.75), get("bias", 1.0))
    return node.leaf(layer, node.tensor())


@rule("Pad")
def pad(node: Node) -> fx.Node:
    pads = node.integers(1, "pads") or []
    rank, mode = len(node.sample()) + 1, node.attributes.get("mode", b"constant")
    if node.given(3):
        raise CaptureError("padding of chosen dimensions")
    if len(pads) != 2 * rank or any(pads[:2]) or any(pads[rank : rank + 2]) or mode != b"constant":
        raise CaptureError("padding of the batch or the channels, or with copied values")
    fill = node.number(2, "value", 0.0)
    return node.leaf(pad_layer(pads[2:rank], pads[rank + 2 :], fill), node.tensor())
