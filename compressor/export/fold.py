"""Which module stands at each call of the exported graph: deployed forms, with BatchNorm folded into its producer.

In eval mode a BatchNorm is an affine map per channel,

    s = γ / √(σ² + ε),   t = β − μ·s,   y = s·x + t,

and s·(W∗x + b) + t = (s·W)∗x + (s·b + t): it disappears into the layer before it when nothing else sees that layer's
output. Layers of plugins fold through ``Leaf.fold_affine``.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from compressor.graph.layers.table import kind_of, vanishes
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
        affine = affine_of(modules[node])
        if affine is None or not isinstance(node.args[0], fx.Node):
            continue
        producer = _producer(node.args[0], modules)
        folded = None if producer is None else fold_affine(modules[producer], *affine, rank=_rank(producer))
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
    kind = kind_of(module)
    return None if kind is None or kind.fold_affine is None else kind.fold_affine(module, scale, shift, rank)


def affine_of(module: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Scale and shift per channel, in double precision, of a layer that is no more in eval mode; None of any other."""
    kind = kind_of(module)
    return None if kind is None or kind.affine is None else kind.affine(module)


def _producer(node: fx.Node, modules: dict[fx.Node, nn.Module]) -> fx.Node | None:
    """The call behind ``node`` whose value nothing else sees, looking through layers that vanish at inference."""
    while len(node.users) == 1:
        if node not in modules:
            return None
        if not vanishes(modules[node]):
            return node
        before = node.args[0]
        if not isinstance(before, fx.Node):
            return None
        node = before
    return None


def _rank(node: fx.Node) -> int:
    shape = node.meta.get("shape")
    return len(shape) if shape is not None else 0
