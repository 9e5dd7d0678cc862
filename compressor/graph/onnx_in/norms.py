"""ONNX normalisations."""

from __future__ import annotations

import operator

import torch
from torch import fx, nn

from compressor.errors import CaptureError
from compressor.graph.onnx_node.node import Node, rule

_BATCH_NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}
_INSTANCE_NORMS = {2: nn.InstanceNorm1d, 3: nn.InstanceNorm2d, 4: nn.InstanceNorm3d}


@rule("BatchNormalization")
def batch_norm(node: Node) -> fx.Node:
    by_the_batch = node.attributes.get("training_mode") or any(name in node.state.uses for name in node.outputs[1:])
    if by_the_batch or len(node.sample()) not in _BATCH_NORMS:
        raise CaptureError("a normalisation in training mode, or of samples of this rank")
    kind = _BATCH_NORMS[len(node.sample())]
    momentum = 1 - node.attributes.get("momentum", 0.9)
    layer = kind(node.constant(1).numel(), eps=node.attributes.get("epsilon", 1e-5), momentum=round(momentum, 7))
    return node.leaf(layer, node.tensor(), weight=1, bias=2, running_mean=3, running_var=4)


@rule("InstanceNormalization")
def instance_norm(node: Node) -> fx.Node:
    kind = _INSTANCE_NORMS.get(len(node.sample()))
    if kind is None:
        raise CaptureError(f"a normalisation of samples of {node.sample()}")
    layer = kind(node.constant(1).numel(), eps=node.attributes.get("epsilon", 1e-5), affine=True)
    return node.leaf(layer, node.tensor(), weight=1, bias=2)


@rule("GroupNormalization")
def group_norm(node: Node) -> fx.Node:
    channels, groups = node.sample()[0], node.attributes["num_groups"]
    if channels % groups or node.constant(1).numel() != channels:
        raise CaptureError(f"{channels} channels in {groups} groups, with {node.constant(1).numel()} scales")
    layer = nn.GroupNorm(groups, channels, eps=node.attributes.get("epsilon", 1e-5))
    return node.leaf(layer, node.tensor(), weight=1, bias=2)


@rule("LayerNormalization")
def layer_norm(node: Node) -> fx.Node:
    if any(name in node.state.uses for name in node.outputs[1:] if name):
        raise CaptureError("its mean or deviation is used")
    axis = node.axis(node.attributes.get("axis", -1))
    shape = node.sample()[axis - 1 :]
    if node.constant(1).numel() != torch.Size(shape).numel():
        raise CaptureError(f"scales of sizes {tuple(node.constant(1).shape)} for {shape}")
    layer = nn.LayerNorm(shape, eps=node.attributes.get("epsilon", 1e-5), bias=node.given(2))
    return node.leaf(layer, node.tensor(), weight=1, **({"bias": 2} if node.given(2) else {}))


@rule("RMSNormalization")
def root_mean_square_norm(node: Node) -> fx.Node:
    axis, rank = node.axis(node.attributes.get("axis", -1)), len(node.sample()) + 1
    squares = node.apply(torch.square, node.tensor())
    mean = node.apply(torch.mean, squares, list(range(axis, rank)), True)
    spread = node.apply(torch.rsqrt, node.apply(operator.add, mean, node.attributes.get("epsilon", 1e-5)))
    scaled = node.apply(operator.mul, node.tensor(), spread)
    return node.apply(operator.mul, scaled, node.state.operand(node.inputs[1]))


@rule("MeanVarianceNormalization")
def mean_variance_norm(node: Node) -> fx.Node:
    """Of each channel, or of each sample as one."""
    axes, rank = sorted(node.attributes.get("axes", [0, 2, 3])), len(node.sample()) + 1
    if axes == list(range(2, rank)) and rank - 1 in _INSTANCE_NORMS:
        return node.leaf(_INSTANCE_NORMS[rank - 1](node.sample()[0], eps=1e-9), node.tensor())
    if axes == list(range(1, rank)):
        return node.leaf(nn.LayerNorm(node.sample(), eps=1e-9, elementwise_affine=False), node.tensor())
    raise CaptureError(f"a normalisation along dimensions {axes}")


@rule("LRN")
def response_norm(node: Node) -> fx.Node:
    """ONNX extends an even window to the one side, torch to the other."""
    get, size = node.attributes.get, node.attributes["size"]
    if size % 2 == 0:
        raise CaptureError(f"an even window of {size} channels")
    layer = nn.LocalResponseNorm(size, get("alpha", 1e-4), get("beta", 0.75), get("bias", 1.0))
    return node.leaf(layer, node.tensor())


@rule("LpNormalization")
def unit_norm(node: Node) -> fx.Node:
    axis, order = node.axis(node.attributes.get("axis", -1)), node.attributes.get("p", 2)
    if order not in (1, 2):
        raise CaptureError(f"a norm of order {order}")
    norm = node.apply(torch.ops.aten.linalg_vector_norm.default, node.tensor(), order, [axis], True)
    return node.apply(operator.truediv, node.tensor(), norm)
