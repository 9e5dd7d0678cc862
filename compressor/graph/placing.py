"""Putting leaves into a network: where their modules live, and which nodes call them. For the editor alone."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, fx, nn

from compressor.graph.channels import Call, ChannelPlan
from compressor.graph.network import Network


def install(network: Network, path: str, module: nn.Module) -> None:
    """Make ``module`` the leaf at ``path``, in the network's mode and on its device. Its parent exists."""
    root = network.module
    parent, _, name = path.rpartition(".")
    setattr(root.get_submodule(parent), name, module.train(root.training).to(network.device))


def put_in_place(network: Network, plan: ChannelPlan) -> ChannelPlan:
    """Carry out a plan; returns the one that undoes it."""
    root = network.module
    leaves = {where: network.leaf(where) for where in plan.leaves}
    for where, leaf in plan.leaves.items():
        install(network, where, leaf)
    constants: dict[str, Tensor] = {}
    for where, tensor in plan.constants.items():
        parent, _, name = where.rpartition(".")
        holder = root.get_submodule(parent)
        constants[where] = getattr(holder, name)
        setattr(holder, name, tensor)
    calls: dict[fx.Node, Call] = {}
    for node, (target, args, kwargs) in plan.calls.items():
        calls[node] = node.target, node.args, dict(node.kwargs)
        node.op = "call_function" if callable(target) else "call_method"
        node.target, node.args, node.kwargs = target, args, kwargs
    return ChannelPlan(leaves, plan.after, plan.before, constants, calls)


def place_of(node: fx.Node) -> str:
    """Where a leaf beside this node belongs: next to the leaf it calls, or at the top under the node's name."""
    return str(node.target) if node.op == "call_module" else node.name


def add(network: Network, place: str, name: str, module: nn.Module) -> str:
    """Install a new leaf at ``{place}_{name}``, with a number where that is taken; returns its path."""
    parent, _, last = f"{place}_{name.replace('.', '_')}".rpartition(".")
    holder = network.module.get_submodule(parent)
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
