"""Dropping, duplicating and reordering channels of a network: one leaf is named, everything coupled to it follows.

Order of duplicates: the copies of a channel come right behind it. With channels ``a b c``, duplicating ``b`` gives
``a b b c``; behind a flattening the whole run of values of ``b`` is repeated. Each taker's weights for ``b`` are
divided by the number of copies, so the network computes what it did (Net2Wider, Chen et al., arXiv:1511.05641, without
noise).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn

from compressor.errors import Refusal
from compressor.graph.coupling.groups import Coupling, Couplings, Positions
from compressor.graph.coupling.guard import check_free
from compressor.graph.coupling.kinds import is_depthwise
from compressor.graph.coupling.select import with_inputs, with_outputs
from compressor.graph.leaf import Leaf
from compressor.graph.network import Network


@dataclass(frozen=True)
class ChannelPlan:
    """The leaves to put in place of those with the same paths, so that every count agrees."""

    leaves: Mapping[str, nn.Module]
    before: int
    after: int
    """Output channels of the named leaf."""


def plan_drop(network: Network, path: str, channels: Sequence[int], couplings: Couplings | None = None) -> ChannelPlan:
    """Drop output channels of a leaf. Raises ``Refusal``; never changes the network.

    ``couplings`` of the network as it is now, where the caller has them, spare a trace.
    """
    count = _channel_count(network, path)
    dropped = sorted(set(channels))
    _check_range(dropped, count, path)
    if not dropped:
        raise Refusal("no channel to drop", path=path)
    if len(dropped) == count:
        raise Refusal("all channels would be dropped", path=path)
    return _plan(network, path, count, dict.fromkeys(dropped, 0), couplings)


def plan_duplicate(network: Network, path: str, channels: Sequence[int]) -> ChannelPlan:
    """Add a copy of each listed output channel (twice listed, two copies). Raises ``Refusal``; changes nothing."""
    count = _channel_count(network, path)
    _check_range(channels, count, path)
    if not channels:
        raise Refusal("no channel to duplicate", path=path)
    if count == 1:
        raise Refusal("a single channel cannot be told from its copies", path=path)
    return _plan(network, path, count, {channel: times + 1 for channel, times in Counter(channels).items()})


def plan_reorder(network: Network, path: str, order: Sequence[int]) -> Mapping[str, nn.Module]:
    """Leaves, by path, with which output channel ``order[i]`` of a leaf becomes channel ``i`` and nothing else changes.

    Raises ``Refusal`` where channels cannot change places, as between the groups of a convolution; changes nothing.
    """
    count = _channel_count(network, path)
    if sorted(order) != list(range(count)):
        raise Refusal(f"has {count} channels, and the order names others", path=path)
    check_free(network, path)
    coupling = Couplings(network).of(path, range(count))
    _refuse_tied(network, coupling, path)
    leaves: dict[str, nn.Module] = {}
    for where in sorted({*coupling.outputs, *coupling.inputs}):
        leaf, call = network.leaf(where), network.calls_of(where)[0]
        if isinstance(leaf, Leaf) or (getattr(leaf, "groups", 1) > 1 and not is_depthwise(leaf)):
            raise Refusal(f"{where}, which is coupled to it, ties channels to their places", path=path)
        if where in coupling.outputs:
            leaf = with_outputs(
                leaf, _reordered(network.shape(call)[0], coupling.outputs[where], order).to(network.device)
            )
        if where in coupling.inputs:
            index = _reordered(network.shape(call.all_input_nodes[0])[0], coupling.inputs[where], order)
            leaf = with_inputs(leaf, index.to(network.device), torch.ones(len(index), device=network.device))
        leaves[where] = leaf
    return leaves


def _reordered(size: int, positions: Positions, order: Sequence[int]) -> Tensor:
    """Which old position each new one takes; a channel may have a run of them."""
    places: dict[int, list[int]] = {}
    for position in sorted(positions):
        places.setdefault(positions[position], []).append(position)
    index = torch.arange(size)
    for new, old in enumerate(order):
        index[places.get(new, [])] = torch.tensor(places.get(old, []), dtype=torch.long)
    return index


def _plan(
    network: Network, path: str, count: int, copies: Mapping[int, int], couplings: Couplings | None = None
) -> ChannelPlan:
    """``copies``: channel → how often it is there afterwards; channels not listed stay."""
    check_free(network, path)
    coupling = (couplings or Couplings(network)).of(path, sorted(copies))
    _refuse_tied(network, coupling, path)
    leaves: dict[str, nn.Module] = {}
    for where in sorted({*coupling.outputs, *coupling.inputs}):
        try:
            leaves[where] = _resized(network, where, coupling, copies)
        except Refusal as refusal:
            coupled = "" if where == path else f"{where}, which is coupled to it: "
            raise Refusal(coupled + refusal.reason, path=path) from refusal
    return ChannelPlan(leaves, count, count + sum(number - 1 for number in copies.values()))


def _resized(network: Network, where: str, coupling: Coupling, copies: Mapping[int, int]) -> nn.Module:
    leaf = network.leaf(where)
    call = network.calls_of(where)[0]
    if where in coupling.outputs:
        index, _ = _selection(network.shape(call)[0], coupling.outputs[where], copies)
        leaf = with_outputs(leaf, index.to(network.device))
    if where in coupling.inputs:
        index, share = _selection(network.shape(call.all_input_nodes[0])[0], coupling.inputs[where], copies)
        leaf = with_inputs(leaf, index.to(network.device), share.to(network.device))
    return leaf


def _selection(size: int, positions: Positions, copies: Mapping[int, int]) -> tuple[Tensor, Tensor]:
    """Which old position each new one takes, and the share of its weight each one gets."""
    index: list[int] = []
    share: list[float] = []
    for channel, run in groupby(range(size), key=lambda position: positions.get(position, -1)):
        places, times = list(run), copies.get(channel, 1)
        index += places * times
        share += [1 / max(times, 1)] * len(places) * times
    return torch.tensor(index, dtype=torch.long), torch.tensor(share)


def _refuse_tied(network: Network, coupling: Coupling, path: str) -> None:
    owners: dict[int, str] = {}
    for where, leaf in network.leaves():
        for parameter in leaf.parameters():
            other = owners.setdefault(id(parameter), where)
            if other != where and {other, where} & {*coupling.outputs, *coupling.inputs}:
                raise Refusal(f"{other} and {where} share a weight", path=path)


def _channel_count(network: Network, path: str) -> int:
    calls = network.calls_of(path)
    if not calls:
        raise Refusal("the network calls no such leaf", path=path)
    return network.shape(calls[0])[0]


def _check_range(channels: Sequence[int], count: int, path: str) -> None:
    for channel in channels:
        if not 0 <= channel < count:
            raise Refusal(f"has {count} channels, no channel {channel}", path=path)
