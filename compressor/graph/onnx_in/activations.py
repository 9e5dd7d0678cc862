"""ONNX activations and other operators without weights that become one module: softmax, clipping, dropout."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

import torch
from torch import fx, nn

from compressor.errors import CaptureError
from compressor.graph.onnx_node.node import Node, rule

_SELU = (1.6732632423543772, 1.0507009873554805)
_ACTIVATIONS: dict[str, Callable[[Node], nn.Module]] = {
    "Relu": lambda node: nn.ReLU(),
    "LeakyRelu": lambda node: nn.LeakyReLU(node.attributes.get("alpha", 0.01)),
    "Elu": lambda node: nn.ELU(node.attributes.get("alpha", 1.0)),
    "Celu": lambda node: nn.CELU(node.attributes.get("alpha", 1.0)),
    "Gelu": lambda node: nn.GELU(node.attributes.get("approximate", b"none").decode()),
    "FastGelu": lambda node: nn.GELU("tanh"),
    "HardSwish": lambda node: nn.Hardswish(),
    "Mish": lambda node: nn.Mish(),
    "Sigmoid": lambda node: nn.Sigmoid(),
    "Softplus": lambda node: nn.Softplus(),
    "Softsign": lambda node: nn.Softsign(),
    "Tanh": lambda node: nn.Tanh(),
}


@rule(*_ACTIVATIONS)
def activation(node: Node) -> fx.Node:
    if node.operator == "FastGelu" and node.given(1):
        raise CaptureError("a bias inside the activation")
    return node.leaf(_ACTIVATIONS[node.operator](node), node.tensor())


@rule("HardSigmoid")
def hard_sigmoid(node: Node) -> fx.Node:
    """min(max(αx + β, 0), 1); torch has a module for α = 1/6, ONNX's default is 0.2."""
    alpha, beta = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-5) and beta == 0.5:
        return node.leaf(nn.Hardsigmoid(), node.tensor())
    line = node.apply(operator.add, node.apply(operator.mul, node.tensor(), alpha), beta)
    return node.leaf(nn.Hardtanh(0.0, 1.0), line)


@rule("QuickGelu")
def quick_gelu(node: Node) -> fx.Node:
    scaled = node.apply(operator.mul, node.tensor(), node.attributes.get("alpha", 1.702))
    return node.apply(operator.mul, node.tensor(), node.leaf(nn.Sigmoid(), scaled))


@rule("Swish")
def swish(node: Node) -> fx.Node:
    if (alpha := node.attributes.get("alpha", 1.0)) == 1:
        return node.leaf(nn.SiLU(), node.tensor())
    gate = node.leaf(nn.Sigmoid(), node.apply(operator.mul, node.tensor(), alpha))
    return node.apply(operator.mul, node.tensor(), gate)


@rule("Selu")
def selu(node: Node) -> fx.Node:
    """γ·ELU(x, α)."""
    alpha, gamma = node.attributes.get("alpha", _SELU[0]), node.attributes.get("gamma", _SELU[1])
    if all(math.isclose(own, usual, rel_tol=1e-4) for own, usual in zip((alpha, gamma), _SELU, strict=True)):
        return node.leaf(nn.SELU(), node.tensor())
    return node.apply(operator.mul, node.leaf(nn.ELU(alpha), node.tensor()), gamma)


@rule("ThresholdedRelu")
def thresholded_relu(node: Node) -> fx.Node:
    return node.leaf(nn.Threshold(node.attributes.get("alpha", 1.0), 0.0), node.tensor())


@rule("Shrink")
def shrink(node: Node) -> fx.Node:
    threshold, bias = node.attributes.get("lambd", 0.5), node.attributes.get("bias", 0.0)
    if bias not in (0.0, threshold):
        raise CaptureError(f"a threshold of {threshold:g} with an offset of {bias:g}")
    return node.leaf(nn.Hardshrink(threshold) if bias == 0 else nn.Softshrink(threshold), node.tensor())


@rule("Softmax", "LogSoftmax")
def softmax(node: Node) -> fx.Node:
    """Along one axis; ``to_the_end``, as before operator set 13, along all from that axis on, taken as one."""
    kind = nn.Softmax if node.operator == "Softmax" else nn.LogSoftmax
    axis, sample = node.axis(node.attributes.get("axis", -1)), node.sample()
    behind = sample[axis:]
    if node.attributes.get("to_the_end") and node.batch_axis():
        raise CaptureError("all dimensions from an axis on, where the batch is not the first")
    if not node.attributes.get("to_the_end") or math.prod(behind) == 1:
        return node.leaf(kind(axis), node.tensor())
    joined = node.reshaped(node.tensor(), (*sample[: axis - 1], math.prod(sample[axis - 1 :])))
    return node.reshaped(node.leaf(kind(axis), joined), sample)


@rule("Clip")
def clip(node: Node) -> fx.Node:
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


@rule("Dropout")
def dropout(node: Node) -> fx.Node:
    if node.given(2) and bool(node.constant(2).any()):
        raise CaptureError("it drops in inference too")
    ratio = node.number(1, "ratio", 0.5)
    if not 0 <= ratio < 1:
        raise CaptureError(f"a ratio of {ratio:g}")
    return node.leaf(nn.Dropout(ratio), node.tensor())


@rule("PRelu")
def prelu(node: Node) -> fx.Node:
    """One slope, or one per channel, is a layer; slopes, which align from the last axis, are arithmetic elsewhere."""
    slope, sample = node.constant(1), node.sample()
    aligned = (*[1] * (len(sample) - slope.dim()), *slope.shape)
    if slope.dim() > len(sample) and slope.shape[0] == 1:
        aligned = tuple(slope.shape[1:])
    if slope.numel() == 1 or aligned == (sample[0], *[1] * (len(sample) - 1)):
        return node.leaf(nn.PReLU(slope.numel()), node.tensor(), weight=1)
    below = node.apply(torch.clamp, node.tensor(), None, 0.0)
    bent = node.apply(operator.mul, below, node.state.operand(node.inputs[1]))
    return node.apply(operator.add, node.leaf(nn.ReLU(), node.tensor()), bent)
