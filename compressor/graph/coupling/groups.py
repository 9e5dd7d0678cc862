"""Which positions of which leaves belong to the same channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from compressor.errors import Refusal
from compressor.graph.coupling.trace import ChannelTrace, trace_of
from compressor.graph.network import Network

Positions = dict[int, int]
"""Position in a leaf's channels → the root leaf's channel that lives there."""


@dataclass(frozen=True)
class Coupling:
    """Everywhere some output channels of one leaf live.

    ``outputs`` are positions among a leaf's outputs (of a channelwise leaf: outputs and inputs alike), ``inputs`` among
    its inputs; both by leaf path.
    """

    outputs: dict[str, Positions] = field(default_factory=dict)
    inputs: dict[str, Positions] = field(default_factory=dict)


def coupled_positions(network: Network, path: str, channels: Sequence[int]) -> Coupling:
    """Where output channels ``channels`` of the leaf at ``path`` live.

    Raises ``Refusal`` where they cannot be chosen, or not without others.
    """
    trace = trace_of(network)
    classes_of_channels(trace, path, channels)
    own = trace.classes_of(trace.made[path])
    roots: dict[int, int] = {}
    for channel in sorted(channels):
        roots.setdefault(int(own[channel]), channel)
    coupling = Coupling()
    for where, atoms in trace.made.items():
        _add(coupling.outputs, where, trace, atoms, roots)
    coupling.outputs.setdefault(path, {}).update({channel: channel for channel in channels})
    for where, slot in trace.slots.items():
        _add(coupling.outputs if slot.both else coupling.inputs, where, trace, slot.atoms, roots)
    return coupling


def _add(side: dict[str, Positions], where: str, trace: ChannelTrace, atoms: Tensor, roots: dict[int, int]) -> None:
    classes = trace.classes_of(atoms)
    places = np.flatnonzero(np.isin(classes, list(roots)))
    if len(places):
        side[where] = {int(place): roots[int(classes[place])] for place in places}


def classes_of_channels(trace: ChannelTrace, path: str, channels: Sequence[int]) -> list[int]:
    """The classes of output channels, ascending. Raises ``Refusal`` for pinned ones, and for parts of a class."""
    if path not in trace.made:
        raise Refusal(trace.blocked.get(path, "makes no channels of its own"), path=path)
    own = trace.classes_of(trace.made[path])
    chosen = set(channels)
    found: set[int] = {int(own[channel]) for channel in chosen}
    for name in sorted(found):
        if name in trace.pinned:
            raise Refusal(trace.pinned[name], path=path)
    for name in sorted(found):
        together = [int(place) for place in np.flatnonzero(own == name)]
        rest = [place for place in together if place not in chosen]
        if rest:
            first = next(place for place in together if place in chosen)
            because = trace.tied.get(name)
            raise Refusal(
                f"channel {first} goes only together with {_listed(rest)}" + (f": {because}" if because else ""),
                path=path,
            )
    return sorted(found)


def free_channels(trace: ChannelTrace, path: str) -> list[list[int]]:
    """The channels of a leaf that can be chosen, in the parts that go together; in order of the first of each."""
    return list(free_classes(trace, path).values())


def free_classes(trace: ChannelTrace, path: str) -> dict[int, list[int]]:
    """The same by class."""
    parts: dict[int, list[int]] = {}
    for place, name in enumerate(trace.classes_of(trace.made[path]).tolist()):
        if name not in trace.pinned:
            parts.setdefault(name, []).append(place)
    return parts


def _listed(channels: list[int]) -> str:
    shown = ", ".join(map(str, channels[:4]))
    return f"channel{'s' if len(channels) > 1 else ''} {shown}{' …' if len(channels) > 4 else ''}"
