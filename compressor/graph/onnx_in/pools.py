"""ONNX pooling: windows with ONNX's rules for padding, and whole images."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from compressor.errors import CaptureError
from compressor.graph.onnx_in.space import pad_layer, padded, pads_of
from compressor.graph.onnx_node.node import Node, rule

_MAX_POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
_AVERAGE_POOLS = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
_AVERAGES: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_GLOBAL_POOLS: dict[str, dict[int, Callable[..., nn.Module]]] = {
    "GlobalAveragePool": {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d},
    "GlobalMaxPool": {1: nn.AdaptiveMaxPool1d, 2: nn.AdaptiveMaxPool2d, 3: nn.AdaptiveMaxPool3d},
}


@rule("MaxPool", "AveragePool", "LpPool")
def pool(node: Node) -> fx.Node:
    kernel = list(node.attributes["kernel_shape"])
    count = len(kernel)
    if count not in _MAX_POOLS or len(node.sample()) != count + 1:
        raise CaptureError(f"a window of sizes {kernel} over samples of {node.sample()}")
    strides = list(node.attributes.get("strides", [1] * count))
    dilations = list(node.attributes.get("dilations", [1] * count))
    ceil = bool(node.attributes.get("ceil_mode", 0))
    if node.operator == "MaxPool":
        if any(name in node.state.uses for name in node.outputs[1:] if name):
            raise CaptureError("its places of the maxima are used")
        value, padding = padded(node, kernel, strides, dilations, -math.inf, widest=[k // 2 for k in kernel])
        settings = (tuple(kernel), tuple(strides), padding, tuple(dilations))
        return node.leaf(_MAX_POOLS[count](*settings, ceil_mode=ceil), value)
    if any(dilation != 1 for dilation in dilations):
        raise CaptureError("a dilated window")
    window = (kernel, strides, ceil)
    return _average_pool(node, *window) if node.operator == "AveragePool" else _root_pool(node, *window)


def _average_pool(node: Node, kernel: list[int], strides: list[int], ceil: bool) -> fx.Node:
    """Where the sides differ and the padding does not count, every window is scaled by what it has too many of."""
    counts_pads = bool(node.attributes.get("count_include_pad", 0))
    value, padding = padded(node, kernel, strides, [1] * len(kernel), widest=[k // 2 for k in kernel])
    kind: Any = _AVERAGE_POOLS[len(kernel)]
    if value is node.tensor() or counts_pads:
        return node.leaf(kind(tuple(kernel), tuple(strides), padding, ceil, counts_pads), value)
    if ceil:
        raise CaptureError("windows rounded up, with padding that differs between the sides and does not count")
    before, after = pads_of(node, kernel, strides, [1] * len(kernel))
    inside = pad_layer(before, after, 0.0)(torch.ones(1, 1, *node.sample()[1:]))
    shares = _AVERAGES[len(kernel)](inside, tuple(kernel), tuple(strides))
    sums = node.leaf(kind(tuple(kernel), tuple(strides), 0), value)
    scale = node.fresh_constant(1 / shares[0], "share of the window")
    return node.apply(operator.mul, sums, node.state.operand(scale))


def _root_pool(node: Node, kernel: list[int], strides: list[int], ceil: bool) -> fx.Node:
    """(Σ |x|^p)^(1/p) over each window; padding adds nothing to a sum."""
    value, padding = padded(node, kernel, strides, [1] * len(kernel), widest=[k // 2 for k in kernel])
    kind: Any = _AVERAGE_POOLS[len(kernel)]
    mean = kind(tuple(kernel), tuple(strides), padding, ceil, True)
    if ceil:
        raise CaptureError("windows rounded up")
    return rooted(node, value, lambda powers: node.apply(operator.mul, node.leaf(mean, powers), math.prod(kernel)))


def rooted(node: Node, value: fx.Node, total: Callable[[fx.Node], fx.Node]) -> fx.Node:
    """The p-norm by a function that adds up."""
    order = node.attributes.get("p", 2)
    if order == 1:
        return total(node.apply(torch.abs, value))
    if order == 2:
        return node.apply(torch.sqrt, total(node.apply(torch.square, value)))
    raise CaptureError(f"a norm of order {order}")


@rule(*_GLOBAL_POOLS)
def global_pool(node: Node) -> fx.Node:
    count = len(node.sample()) - 1
    kind = _GLOBAL_POOLS[node.operator].get(count)
    if kind is None:
        raise CaptureError(f"samples of {node.sample()}")
    return node.leaf(kind(1 if count == 1 else (1,) * count), node.tensor())


@rule("GlobalLpPool")
def global_root_pool(node: Node) -> fx.Node:
    axes = list(range(2, len(node.sample()) + 1))
    return rooted(node, node.tensor(), lambda powers: node.apply(torch.sum, powers, axes, True))
