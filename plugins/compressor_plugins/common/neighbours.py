"""Looking around in a network: what comes before a node, what behind it, past what computes nothing."""

from __future__ import annotations

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from compressor.graph.network import Network

PASSIVE = (nn.Identity, nn.Flatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
"""Leaves that keep every value as it is in eval mode."""


def leaf_at(network: Network, node: fx.Node | None) -> nn.Module | None:
    """The leaf a node calls; None where it calls none."""
    return network.leaf(str(node.target)) if node is not None and node.op == "call_module" else None


def source_of(node: fx.Node) -> fx.Node:
    """The first value a node takes."""
    return node.all_input_nodes[0]


def only_user(node: fx.Node) -> fx.Node | None:
    """The one node that uses the value; None where there are several or none."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def is_batch_norm(leaf: nn.Module | None) -> bool:
    return isinstance(leaf, _BatchNorm)


def before(network: Network, node: fx.Node) -> fx.Node:
    """The node whose value ``node`` takes, past passive leaves."""
    source = source_of(node)
    while isinstance(leaf_at(network, source), PASSIVE):
        source = source_of(source)
    return source


def behind(network: Network, node: fx.Node) -> fx.Node | None:
    """The only node that uses the value, past passive leaves; None where the value is used more than once."""
    user = only_user(node)
    while user is not None and isinstance(leaf_at(network, user), PASSIVE):
        user = only_user(user)
    return user
