"""What a change of channels puts in place of what is there: leaves, constants and calls, built, then swapped in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from compressor.errors import Refusal
from compressor.graph.coupling.replay import ChannelLayout
from compressor.graph.coupling.select import with_inputs, with_outputs
from compressor.graph.coupling.trace import ChannelTrace
from compressor.graph.network import Network
from compressor.graph.placing import install

NodeCall = tuple[Any, tuple[Any, ...], dict[str, Any]]
"""Target, args and kwargs of a node."""


@dataclass(frozen=True)
class ChannelPlan:
    """What to put in place of what is there, so that every count agrees."""

    leaves: Mapping[str, nn.Module]
    before: int
    after: int
    """Output channels of the named leaf."""
    constants: Mapping[str, Tensor] = field(default_factory=dict)
    """By path: parameters and buffers that the graph reads itself."""
    calls: Mapping[fx.Node, NodeCall] = field(default_factory=dict)
    """Nodes with the number of channels written into them."""
    trace: ChannelTrace | None = None
    """Of the network once the plan is carried out, where that is known."""


def channel_plan(network: Network, trace: ChannelTrace, layout: ChannelLayout) -> ChannelPlan:
    """What a layout of channels puts in place. Raises ``Refusal`` with the path of a leaf that cannot follow."""
    leaves: dict[str, nn.Module] = {}
    for where in sorted({*layout.outputs, *layout.inputs}):
        try:
            leaves[where] = _resized(network, trace, layout, where)
        except Refusal as refusal:
            raise Refusal(refusal.reason, path=where) from refusal
    constants = {where: _entries(network, where, *picked) for where, picked in layout.constants.items()}
    return ChannelPlan(leaves, 0, 0, constants, layout.calls)


def put_in_place(network: Network, plan: ChannelPlan) -> ChannelPlan:
    """Carry out a plan; returns the one that undoes it. For the editor alone, and for forks nobody sees."""
    leaves = {where: network.leaf(where) for where in plan.leaves}
    for where, leaf in plan.leaves.items():
        install(network, where, leaf)
    constants: dict[str, Tensor] = {}
    for where, tensor in plan.constants.items():
        parent, _, name = where.rpartition(".")
        holder = network.root.get_submodule(parent)
        constants[where] = getattr(holder, name)
        setattr(holder, name, tensor)
    calls: dict[fx.Node, NodeCall] = {}
    for node, (target, args, kwargs) in plan.calls.items():
        calls[node] = node.target, node.args, dict(node.kwargs)
        node.op = "call_function" if callable(target) else "call_method"
        node.target, node.args, node.kwargs = target, args, kwargs
    return ChannelPlan(leaves, plan.after, plan.before, constants, calls)


def _resized(network: Network, trace: ChannelTrace, layout: ChannelLayout, where: str) -> nn.Module:
    leaf, device = network.leaf(where), network.device
    if where in layout.outputs:
        leaf = with_outputs(leaf, torch.from_numpy(layout.outputs[where]).to(device))
    if where in layout.inputs and not trace.slots[where].both:
        share = 1 / torch.from_numpy(layout.shares[where]).float()
        leaf = with_inputs(leaf, torch.from_numpy(layout.inputs[where]).to(device), share.to(device))
    return leaf


def _entries(network: Network, where: str, dim: int, index: Any) -> Tensor:
    held: Any = network.root
    for name in where.split("."):
        held = getattr(held, name)
    fresh = held.detach().index_select(dim, torch.from_numpy(index).to(held.device)).clone()
    return nn.Parameter(fresh, held.requires_grad) if isinstance(held, nn.Parameter) else fresh
