"""Groups of coupled channels as pruning sees them: which layers make them, how much each channel weighs.

A group is everything that loses channel i when one layer loses it: the other layers of a residual sum, the
normalisation behind them, the layers that take the channel. It is named after the first layer that makes its channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from compressor.errors import Refusal
from compressor.graph.channels import plan_drop
from compressor.graph.coupling.groups import Coupling, Couplings
from compressor.graph.coupling.guard import check_free
from compressor.graph.coupling.kinds import is_channelwise, is_depthwise
from compressor.graph.network import Network
from compressor.plugin import Refused
from compressor_plugins.common.weighted import WeightedLayer

Importance = Literal["l1", "l2"]


@dataclass(frozen=True)
class Group:
    """``width`` channels that the layers ``producers`` make together; ``path`` is the first of them.

    ``segments``: where a grouped convolution takes part, as many channels must go from each of this many equal runs.
    """

    path: str
    width: int
    producers: tuple[str, ...]
    segments: int


def find_groups(network: Network) -> Iterator[Group | Refused]:
    """Every group once, in order of execution, and the layers whose channels cannot change in number."""
    couplings: Couplings | None = None
    covered: set[str] = set()
    for path, leaf in network.leaves():
        if path in covered or not makes_channels(leaf):
            continue
        try:
            check_free(network, path)
            couplings = couplings or Couplings(network)
            group = _group(network, couplings, path)
            if group.width > group.segments:
                size = group.width // group.segments
                plan_drop(network, path, range(0, group.width, size), couplings)
        except Refusal as refusal:
            yield Refused(path, refusal.reason)
            continue
        covered.update(group.producers)
        yield group


def find_group(network: Network, path: str) -> Group:
    """The group named after the layer at ``path``. Raises ``Refusal`` where there is none."""
    if not makes_channels(network.leaf(path)):
        raise Refusal("makes no channels that could be dropped", path=path)
    check_free(network, path)
    return _group(network, Couplings(network), path)


def makes_channels(leaf: nn.Module) -> bool:
    """Whether the leaf is a linear or convolutional layer with output channels of its own."""
    return isinstance(leaf, nn.Linear | _ConvNd | WeightedLayer) and not is_channelwise(leaf)


def importances(network: Network, group: Group, kind: Importance) -> Tensor:
    """One number per channel ``(width,)``: the norms of its weights, summed over the producers.

    Norms are relative to their mean over a layer, so that every producer counts the same.
    """
    order = {"l1": 1, "l2": 2}[kind]
    norms = _per_channel(network, group, lambda rows: torch.linalg.vector_norm(rows, order, 1))
    return torch.stack([norm / norm.mean().clamp_min(1e-12) for norm in norms]).sum(0)


def empty_channels(network: Network, group: Group) -> list[int]:
    """Channels all of whose weights are zero, in every producer."""
    own = rows_of(network.leaf(group.path))
    if own is None or not bool((own == 0).all(1).any()):
        return []  # without asking for the coupling of every channel
    zero = torch.stack(_per_channel(network, group, lambda rows: (rows == 0).all(1).float())).amin(0)
    return [int(channel) for channel in zero.nonzero().flatten()]


def coupling_of(network: Network, group: Group) -> Coupling:
    """Where every channel of the group lives."""
    return Couplings(network).of(group.path, range(group.width))


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


def _per_channel(network: Network, group: Group, measure: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """For each producer what ``measure`` says of its rows (N, …) → (N,), put in the order of the group's channels."""
    found: list[Tensor] = []
    for path, positions in coupling_of(network, group).outputs.items():
        leaf = network.leaf(path)
        rows = None if is_channelwise(leaf) else rows_of(leaf)
        if rows is None:
            continue
        values = torch.full((group.width,), torch.nan, device=rows.device)
        places = torch.tensor(list(positions.items()), device=rows.device)
        values[places[:, 1]] = measure(rows)[places[:, 0]].to(values.dtype)
        found.append(values.nan_to_num(nan=float(values.nanmean())))
    return found


def _group(network: Network, couplings: Couplings, path: str) -> Group:
    coupling = couplings.of(path, [0])
    producers = tuple(where for where in coupling.outputs if makes_channels(network.leaf(where)))
    width = network.shape(network.calls_of(path)[0])[0]
    members = [network.leaf(where) for where in {*coupling.outputs, *coupling.inputs}]
    return Group(path, width, (path, *(where for where in producers if where != path)), _segments(members))


def _segments(members: list[nn.Module]) -> int:
    grouped = [leaf.groups for leaf in members if isinstance(leaf, _ConvNd) and not is_depthwise(leaf)]
    return math.lcm(1, *grouped)
