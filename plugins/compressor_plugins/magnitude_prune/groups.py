"""Groups of coupled channels as pruning sees them: which layers make them, how much each channel weighs.

A group is everything that loses a channel when one layer loses it: the other layers of a residual sum, the
normalisation behind them, the layers that take the channel. It is named after the first layer that makes its channels.

Channels are dropped by units, the least that can go: one channel, or several of a layer that go only together, as the
k-th of every group of a grouped convolution.
"""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from compressor.errors import Refusal
from compressor.graph.channels import plan_drop
from compressor.graph.coupling.check import verdict
from compressor.graph.coupling.groups import Coupling, coupled_positions, free_classes
from compressor.graph.coupling.guard import why_not_free
from compressor.graph.coupling.kinds import is_channelwise
from compressor.graph.coupling.trace import ChannelTrace, trace_of
from compressor.graph.leaf import Leaf
from compressor.graph.network import Network
from compressor.plugin import Refused
from compressor_plugins.common.weighted import WeightedLayer

Importance = Literal["l1", "l2"]


@dataclass(frozen=True)
class Group:
    """Channels that the layers ``producers`` make together; ``path`` is the first of them."""

    path: str
    width: int
    """All output channels of the layer at ``path``, also those that are not of the group."""
    producers: tuple[str, ...]
    units: tuple[tuple[int, ...], ...]
    """Its channels that can go, in the parts that go together."""
    classes: tuple[int, ...] = field(repr=False)
    """The class of each unit in the trace of the network."""
    needed: tuple[frozenset[int], ...] = field(repr=False)
    """Sets of units of which one must stay, as something would be left with nothing."""

    @property
    def fixed(self) -> int:
        """Channels of the layer that are not of the group."""
        return self.width - sum(map(len, self.units))

    def kept(self, units: list[int]) -> list[int]:
        """The layer's channels where only these units stay."""
        gone = {channel for number, unit in enumerate(self.units) if number not in set(units) for channel in unit}
        return [channel for channel in range(self.width) if channel not in gone]


def find_groups(network: Network) -> Iterator[Group | Refused]:
    """Every group once, in order of execution, and the layers whose channels cannot change in number."""
    wrong = verdict(network, lambda: {g.path: _some(g) for g in _traced(network) if isinstance(g, Group)})
    foreign = {path for path, leaf in network.leaves() if isinstance(leaf, Leaf)}
    for place in _traced(network):
        reason = wrong.get(place.path, "")
        if foreign and not reason and isinstance(place, Group):
            reason = _why_leaves_refuse(network, place, foreign)
        yield Refused(place.path, reason) if reason else place


def find_group(network: Network, path: str) -> Group:
    """The group named after the layer at ``path``. Raises ``Refusal`` where there is none."""
    trace, makers = trace_of(network), _makers(network)
    if makers.get(path):
        if reason := why_not_free(trace, path):
            raise Refusal(reason, path=path)
        if units := _own_units(trace, makers, path):
            return _group(trace, makers, path, units)
    raise Refusal("makes no channels that could be dropped, or another layer names their group", path=path)


def makes_channels(leaf: nn.Module) -> bool:
    """Whether the leaf is a linear or convolutional layer with output channels of its own."""
    return isinstance(leaf, nn.Linear | _ConvNd | WeightedLayer) and not is_channelwise(leaf)


def importances(network: Network, group: Group, kind: Importance) -> Tensor:
    """One number per unit: the norms of its channels' weights, their mean in a layer, summed over the producers.

    Norms are relative to their mean over a layer, so that every producer counts the same.
    """
    order = {"l1": 1, "l2": 2}[kind]
    norms = _per_unit(network, group, lambda rows: torch.linalg.vector_norm(rows, order, 1))
    return torch.stack([norm / norm.mean().clamp_min(1e-12) for norm in norms]).sum(0)


def empty_units(network: Network, group: Group) -> list[int]:
    """Units all of whose weights are zero, in every producer."""
    own = rows_of(network.leaf(group.path))
    if own is None or not bool((own == 0).all(1).any()):
        return []
    zero = torch.stack(_per_unit(network, group, lambda rows: (rows == 0).all(1).float())).amin(0)
    return [int(unit) for unit in (zero == 1).nonzero().flatten()]


def coupling_of(network: Network, group: Group) -> Coupling:
    """Where every channel of the group lives."""
    return coupled_positions(network, group.path, [channel for unit in group.units for channel in unit])


@torch.no_grad()
def rows_of(leaf: nn.Module) -> Tensor | None:
    """The weights of a layer as one row per output channel; None where it has none."""
    if isinstance(leaf, WeightedLayer):
        return leaf.rows(leaf.effective_weight())
    if not isinstance(leaf, nn.Linear | _ConvNd):
        return None
    weight = leaf.weight.detach()
    if isinstance(leaf, _ConvTransposeNd):  # (in, out / groups, …), the groups stacked along the inputs
        return torch.cat([part.transpose(0, 1).flatten(1) for part in weight.chunk(leaf.groups, 0)])
    return weight.flatten(1)


def _per_unit(network: Network, group: Group, measure: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """For each producer what ``measure`` says of its rows (N, …) → (N,), the mean of each unit."""
    trace = trace_of(network)
    numbers = {name: number for number, name in enumerate(group.classes)}
    found: list[Tensor] = []
    for path in group.producers:
        rows = rows_of(network.leaf(path))
        if rows is None:
            continue
        units = torch.tensor([numbers.get(name, -1) for name in trace.classes_of(trace.made[path]).tolist()])
        units = units.to(rows.device)
        own, values = units[units >= 0], measure(rows)[units >= 0].float()
        zeros = torch.zeros(len(group.units), device=rows.device)
        counts = zeros.index_add(0, own, torch.ones_like(values))
        means = zeros.index_add(0, own, values) / counts
        found.append(means.nan_to_num(nan=float(means.nanmean())))
    return found


def _some(group: Group) -> frozenset[int]:
    """Classes of about half of the units, that can go together."""
    stay = set(range(1, len(group.units), 2)) | {min(row) for row in group.needed}
    return frozenset(name for number, name in enumerate(group.classes) if number not in stay)


def _why_leaves_refuse(network: Network, group: Group, foreign: set[str]) -> str:
    """Layers of plugins say only when asked whether they can follow; empty where all do."""
    trace, classes = trace_of(network), frozenset(group.classes)
    if not any(path in group.producers or trace.reaches(path, classes) for path in foreign):
        return ""
    gone = _some(group)
    try:
        if gone:
            channels = [unit for number, unit in enumerate(group.units) if group.classes[number] in gone]
            plan_drop(network, group.path, [channel for unit in channels for channel in unit])
    except Refusal as refusal:
        return refusal.reason
    return ""


# --- finding ---------------------------------------------------------------------------------------------------------


class _Found:
    """What is found in one state of a network, as far as it was asked for."""

    def __init__(self, search: Iterator[Group | Refused]) -> None:
        self._search = search
        self._known: list[Group | Refused] = []

    def __iter__(self) -> Iterator[Group | Refused]:
        number = 0
        while number < len(self._known) or self._more():
            yield self._known[number]
            number += 1

    def _more(self) -> bool:
        before = len(self._known)
        self._known.extend(itertools.islice(self._search, 1))
        return len(self._known) > before


_FOUND: weakref.WeakKeyDictionary[ChannelTrace, _Found] = weakref.WeakKeyDictionary()


def _traced(network: Network) -> _Found:
    """What the trace says, in order of execution."""
    trace = trace_of(network)
    if trace not in _FOUND:
        _FOUND[trace] = _Found(_search(trace, _makers(network)))
    return _FOUND[trace]


def _makers(network: Network) -> dict[str, bool]:
    """Layers in order of execution, and whether each makes channels of its own."""
    return {path: makes_channels(leaf) for path, leaf in network.leaves()}


def _search(trace: ChannelTrace, makers: dict[str, bool]) -> Iterator[Group | Refused]:
    for path in makers:
        if not makers[path]:
            continue
        if reason := why_not_free(trace, path):
            yield Refused(path, reason)
        elif units := _own_units(trace, makers, path):
            yield _group(trace, makers, path, units)


def _own_units(trace: ChannelTrace, makers: dict[str, bool], path: str) -> dict[int, list[int]]:
    """The units of a layer, by class, that no layer before it makes too: their group would be named after that one."""
    before = {other for other in itertools.takewhile(lambda other: other != path, makers) if makers[other]}

    @functools.cache  # the many channels of a layer have few sets of makers
    def named_after(others: tuple[str, ...]) -> bool:
        return any(other in before and not why_not_free(trace, other) for other in others)

    own = {name for name in trace.classes_of(trace.made[path]).tolist() if not named_after(trace.makers.get(name, ()))}
    return {name: unit for name, unit in free_classes(trace, path).items() if name in own} if own else {}


def _group(trace: ChannelTrace, layers: dict[str, bool], path: str, units: dict[int, list[int]]) -> Group:
    numbers = {name: number for number, name in enumerate(units)}
    makers = dict.fromkeys(where for name in units for where in trace.makers.get(name, ()))
    producers = (path, *(where for where in makers if where != path and layers[where]))
    rows: set[frozenset[int]] = set()
    for name in units:
        for row in trace.rows.get(name, ()):
            if len(row) <= len(units) and int(row[-1]) in numbers:
                rows.add(frozenset(row.tolist()))
    rows = {row for row in rows if row <= numbers.keys()}
    least = [row for row in rows if not any(other < row for other in rows)]
    needed = sorted((frozenset(numbers[name] for name in row) for row in least), key=sorted)
    return Group(path, len(trace.made[path]), producers, tuple(map(tuple, units.values())), tuple(units), tuple(needed))
