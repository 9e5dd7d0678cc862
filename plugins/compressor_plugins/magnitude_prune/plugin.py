"""Magnitude pruning: what has the smallest weights goes.

    channels        the least important channels of each coupled group, widths in whole blocks     smaller and faster
    weights         the smallest of all weights of the whole network, in rounds                    smaller, not faster
    empty-filters   channels that ``weights`` has left without any weight                          smaller and faster

One round over n surviving weights prunes the ⌊f · n⌋ smallest of all layers together (see ``schedule`` for f,
``weights`` for what makes a weight small); masks hold them at zero in training, survive a rewind to the first
weights, and know the number of the round: a phase with ``rounds = 3`` and ``rewind = "initial"`` is the lottery-ticket
procedure. Biases and BatchNorm are never pruned.

The promise is ``TRAINED`` for all three: half the channels, or nine tenths of the weights, may be gone at once, and
nothing bounds what that does to the output.

Sources: "How to reduce training parameters in CNNs while keeping accuracy > 99 %"; Frankle & Carbin (arXiv:1803.03635);
Li et al., filter norms (arXiv:1608.08710); Fang et al., coupled groups (DepGraph, arXiv:2301.12900); Lee et al., LAMP
(arXiv:2010.07611).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from compressor.errors import Refusal
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.knobs import Choices
from compressor.plugin import Plugin, Promise, Refused, Site, Suggestion
from compressor_plugins.magnitude_prune import channels, empty_filters, weights
from compressor_plugins.magnitude_prune.groups import Importance
from compressor_plugins.magnitude_prune.schedule import RANGES, Schedule
from compressor_plugins.magnitude_prune.weights import Score

_FEW_GROUPS = 4
"""So few groups are each given a switch of their own."""


@dataclass(frozen=True)
class MagnitudePrune(Plugin):
    """Drop the channels, or mask the single weights, of smallest magnitude."""

    promise: ClassVar[Promise] = Promise.TRAINED

    structure: Literal["channels", "weights", "empty-filters"] = "channels"
    importance: Importance = "l2"
    """Norm of a channel's weights (``channels``)."""
    block: int = 16
    """Widths stay multiples of this (``channels``, ``empty-filters``); 0 admits every width."""
    schedule: Schedule = "total"
    """How much each round prunes (``weights``); the knob ``fraction`` is P or p of the schedule."""
    rounds: int = 1
    """In how many rounds ``total`` reaches its fraction: as many as the phase has."""
    score: Score = "magnitude"
    """What makes a weight small (``weights``): ``lamp`` is blind to the scale of its layer."""

    def sites(self, network: Network) -> Iterator[Site | Refused]:
        match self.structure:
            case "channels":
                yield from channels.places(network, self.block)
            case "weights":
                yield from weights.places(network, self.schedule)
            case "empty-filters":
                yield from empty_filters.places(network, self.block)

    def suggest(self, network: Network, sites: Sequence[Site]) -> Suggestion | None:
        narrow = len(sites) < _FEW_GROUPS
        policy: Literal["each", "spread"] = "each" if narrow else "spread"
        return Suggestion("structure", f"{len(sites)} groups of channels could be narrower", policy)

    def rewrite(self, editor: Editor, site: Site, choice: Choices) -> None:
        match self.structure:
            case "channels":
                ratio = float(choice.get(channels.KNOB, channels.RATIOS[0]))
                channels.prune(editor, site.path, ratio, self.importance, self.block)
            case "weights":
                if site.path != weights.SITE:
                    raise Refusal(f"weights are pruned at the site {weights.SITE!r} only", path=site.path)
                fraction = float(choice.get(weights.KNOB, RANGES[self.schedule].default))
                weights.prune(editor, self.schedule, fraction, self.rounds, self.score)
            case "empty-filters":
                empty_filters.remove(editor, site.path, self.block)
