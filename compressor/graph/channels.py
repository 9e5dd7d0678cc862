"""Dropping, duplicating and reordering channels of a network: one leaf is named, everything coupled to it follows.

A dropped channel is gone for all that took it: the network computes what it would if those weights were zero. Where
nothing between the layers that make a channel and those that take it turns zero into something else (a sigmoid, an
added constant), a channel that was zero can thus be dropped without changing anything.

Order of duplicates: the copies of a channel come right behind it. With channels ``a b c``, duplicating ``b`` gives
``a b b c``; behind a flattening the whole run of values of ``b`` is repeated. Each taker's weights for ``b`` are
divided by the number of copies, so the network computes what it did (Net2Wider, Chen et al., arXiv:1511.05641, without
noise).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from torch import nn

from compressor.errors import Refusal
from compressor.graph.coupling.groups import classes_of_channels
from compressor.graph.coupling.plan import ChannelPlan, channel_plan
from compressor.graph.coupling.replay import ChannelChange, ChannelLayout, Replay
from compressor.graph.coupling.trace import ChannelTrace, trace_of
from compressor.graph.network import Network


def plan_drop(network: Network, path: str, channels: Iterable[int]) -> ChannelPlan:
    """Drop output channels of a leaf. Raises ``Refusal``; never changes the network."""
    count = channel_count(network, path)
    dropped = sorted(set(channels))
    _check_range(dropped, count, path)
    if not dropped:
        raise Refusal("no channel to drop", path=path)
    trace = trace_of(network)
    classes = classes_of_channels(trace, path, dropped)
    if len(dropped) == count:
        raise Refusal("all channels would be dropped", path=path)
    return _plan(network, trace, path, count, ChannelChange(copies=dict.fromkeys(classes, 0)))


def plan_duplicate(network: Network, path: str, channels: Sequence[int]) -> ChannelPlan:
    """Add a copy of each listed output channel (twice listed, two copies). Raises ``Refusal``; changes nothing."""
    count = channel_count(network, path)
    _check_range(channels, count, path)
    if not channels:
        raise Refusal("no channel to duplicate", path=path)
    trace = trace_of(network)
    times = Counter(channels)
    classes_of_channels(trace, path, list(times))
    if count == 1:
        raise Refusal("a single channel cannot be told from its copies", path=path)
    own = trace.classes_of(trace.made[path]).tolist()
    copies: dict[int, int] = {}
    for channel, number in times.items():
        if copies.setdefault(own[channel], number + 1) != number + 1:
            raise Refusal(f"channel {channel} goes together with others, which would have other copies", path=path)
    return _plan(network, trace, path, count, ChannelChange(copies=copies))


def plan_reorder(network: Network, path: str, order: Sequence[int]) -> Mapping[str, nn.Module]:
    """Leaves, by path, with which output channel ``order[i]`` of a leaf becomes channel ``i`` and nothing else changes.

    Raises ``Refusal`` where channels cannot change places, as between the groups of a convolution; changes nothing.
    """
    count = channel_count(network, path)
    if sorted(order) != list(range(count)):
        raise Refusal(f"has {count} channels, and the order names others", path=path)
    trace = trace_of(network)
    moved = [channel for place, channel in enumerate(order) if channel != place]
    classes_of_channels(trace, path, moved)
    own = trace.classes_of(trace.made[path]).tolist()
    places = {own[place]: own[channel] for place, channel in enumerate(order) if own[place] != own[channel]}
    if len({own[channel] for channel in moved}) != len(moved):
        raise Refusal("several of its channels go together, which ties channels to their places", path=path)
    plan = _plan(network, trace, path, count, ChannelChange(places=places))
    if plan.constants or plan.calls:
        raise Refusal("a constant follows its channels, which ties channels to their places", path=path)
    return plan.leaves


def channel_count(network: Network, path: str) -> int:
    """How many output channels the leaf at ``path`` makes. Raises ``Refusal`` where it makes none of its own."""
    trace = trace_of(network)
    if path not in trace.made:
        called = network.calls_of(path)
        reason = trace.blocked.get(path, "makes no channels of its own") if called else "the network calls no such leaf"
        raise Refusal(reason, path=path)
    return len(trace.made[path])


def _plan(network: Network, trace: ChannelTrace, path: str, count: int, change: ChannelChange) -> ChannelPlan:
    try:
        replay = Replay(network, trace, change)
        layout = replay.replay()
    except Refusal as refusal:
        raise Refusal(refusal.reason, path=path) from refusal
    _refuse_tied(network, layout, path)
    try:
        plan = channel_plan(network, trace, layout)
    except Refusal as refusal:
        coupled = "" if refusal.path in (path, "") else f"{refusal.path}, which is coupled to it: "
        raise Refusal(coupled + refusal.reason, path=path) from refusal
    return replace(plan, before=count, after=len(layout.outputs[path]), trace=replay.trace_after())


def _refuse_tied(network: Network, layout: ChannelLayout, path: str) -> None:
    owners: dict[int, str] = {}
    touched = {*layout.outputs, *layout.inputs, *layout.constants}
    for where, leaf in network.leaves():
        for parameter in leaf.parameters():
            other = owners.setdefault(id(parameter), where)
            if other != where and {other, where} & touched:
                raise Refusal(f"{other} and {where} share a weight", path=path)


def _check_range(channels: Iterable[int], count: int, path: str) -> None:
    for channel in channels:
        if not 0 <= channel < count:
            raise Refusal(f"has {count} channels, no channel {channel}", path=path)
