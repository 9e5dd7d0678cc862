"""Which module stands at each call of the exported graph: deployed forms, with BatchNorm folded into its producer.

In eval mode a BatchNorm is an affine map per channel,

    s = γ / √(σ² + ε),   t = β − μ·s,   y = s·x + t,

and s·(W∗x + b) + t = (s·W)∗x + (s·b + t): it disappears into the layer before it when nothing else sees that layer's
output. Layers of plugins fold through ``Leaf.fold_affine``.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.dropout import _DropoutNd

from compressor.graph.leaf import Leaf
from compressor.graph.network import Network


def standing_modules(network: Network) -> dict[fx.Node, nn.Module]:
    """The module to emit for every call of a leaf. The network and its leaves stay as they are."""
    modules = {node: deployed(leaf) for node, leaf in network.calls()}
    for node in list(modules):
        leaf = modules[node]
        if isinstance(leaf, Leaf):
            with torch.no_grad():
                modules.update(leaf.deploy_with(node, modules))
    for node in list(modules):
        norm = modules[node]
        if not isinstance(norm, _BatchNorm) or norm.running_mean is None or not isinstance(node.args[0], fx.Node):
            continue
        producer = _producer(node.args[0], modules)
        folded = None if producer is None else fold_affine(modules[producer], *affine_of(norm), rank=_rank(producer))
        if producer is not None and folded is not None:
            modules[producer] = folded
            modules[node] = nn.Identity()
    return modules


def deployed(leaf: nn.Module) -> nn.Module:
    """The cheaper equal form that a leaf says it has, as often as it says so; the leaf itself without one."""
    while isinstance(leaf, Leaf):
        with torch.no_grad():
            cheaper = leaf.deploy()
        if cheaper is None:
            break
        leaf = cheaper
    return leaf


def affine_of(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Scale and shift per channel of an eval-mode BatchNorm, in double precision."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a BatchNorm without running statistics is no affine map")
    mean, variance = norm.running_mean.detach().double(), norm.running_var.detach().double()
    scale = (variance + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * norm.weight.detach().double()
    shift = -mean * scale
    return scale, shift + norm.bias.detach().double() if norm.affine else shift


def fold_affine(module: nn.Module, scale: Tensor, shift: Tensor, *, rank: int) -> nn.Module | None:
    """A new module equal to ``scale · module(x) + shift`` per channel, or None where there is none.

    ``scale``, ``shift``: ``(channels,)``; ``rank``: dimensions of one output sample, whose first is the channels.
    """
    if isinstance(module, Leaf):
        with torch.no_grad():
            return module.fold_affine(scale.float(), shift.float())
    if isinstance(module, nn.Sequential) and len(module):
        last = fold_affine(module[-1], scale, shift, rank=rank)
        return None if last is None else nn.Sequential(*list(module)[:-1], last)
    if isinstance(module, nn.Linear) and rank == 1:
        return with_weights(module, _scaled(module.weight, scale, 0), _moved(module.bias, scale, shift))
    if isinstance(module, _ConvTransposeNd):
        weight = module.weight.detach().double()
        grouped = weight.view(module.groups, -1, *weight.shape[1:])
        factors = scale.to(grouped.device).view(module.groups, 1, -1, *[1] * len(module.kernel_size))
        return with_weights(module, (grouped * factors).flatten(0, 1), _moved(module.bias, scale, shift))
    if isinstance(module, _ConvNd):
        return with_weights(module, _scaled(module.weight, scale, 0), _moved(module.bias, scale, shift))
    return None


def _producer(node: fx.Node, modules: dict[fx.Node, nn.Module]) -> fx.Node | None:
    """The call behind ``node`` whose value nothing else sees, looking through layers that vanish at inference."""
    while len(node.users) == 1:
        if node not in modules:
            return None
        if not isinstance(modules[node], nn.Identity | _DropoutNd):
            return node
        before = node.args[0]
        if not isinstance(before, fx.Node):
            return None
        node = before
    return None


def _rank(node: fx.Node) -> int:
    shape = node.meta.get("shape")
    return len(shape) if shape is not None else 0


def _scaled(weight: Tensor, scale: Tensor, axis: int) -> Tensor:
    shape = [-1 if i == axis else 1 for i in range(weight.dim())]
    return weight.detach().double() * scale.to(weight.device).view(shape)


def _moved(bias: Tensor | None, scale: Tensor, shift: Tensor) -> Tensor:
    return shift if bias is None else bias.detach().double() * scale.to(bias.device) + shift.to(bias.device)


def with_weights(module: nn.Module, weight: Tensor, bias: Tensor) -> nn.Module:
    """A copy of the layer's settings holding new parameters."""
    fresh = copy.copy(module)
    fresh._parameters = {
        "weight": nn.Parameter(weight.float(), requires_grad=False),
        "bias": nn.Parameter(bias.float(), requires_grad=False),
    }
    return fresh
