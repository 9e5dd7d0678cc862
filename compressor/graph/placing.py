"""Putting leaves into a network: where their modules live, and which nodes call them. For the editor alone."""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx, nn

from compressor.graph.network import Network


def install(network: Network, path: str, module: nn.Module) -> None:
    """Make ``module`` the leaf at ``path``, in the network's mode and on its device. Its parent exists."""
    root = network.root
    parent, _, name = path.rpartition(".")
    setattr(root.get_submodule(parent), name, module.train(root.training).to(network.device))


def place_of(node: fx.Node) -> str:
    """Where a leaf beside this node belongs: next to the leaf it calls, or at the top under the node's name."""
    return str(node.target) if node.op == "call_module" else node.name


def add(network: Network, place: str, name: str, module: nn.Module) -> str:
    """Install a new leaf at ``{place}_{name}``, with a number where that is taken; returns its path."""
    parent, _, last = f"{place}_{name.replace('.', '_')}".rpartition(".")
    holder = network.root.get_submodule(parent)
    free, number = last, 2
    while hasattr(holder, free):
        free, number = f"{last}_{number}", number + 1
    path = f"{parent}.{free}" if parent else free
    install(network, path, module)
    return path


def call_chain(
    network: Network, before: fx.Node, paths: Sequence[str], inputs: tuple[fx.node.Argument, ...]
) -> fx.Node:
    """Call leaves in a row, in front of ``before``, the first on ``inputs``; returns the last call."""
    with network.graph.inserting_before(before):
        for path in paths:
            call = network.graph.call_module(path, inputs)
            inputs = (call,)
    return call
