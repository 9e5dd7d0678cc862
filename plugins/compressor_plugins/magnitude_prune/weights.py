"""Unstructured pruning of a whole network: one ranking over all surviving weights of all layers.

    magnitude   |w|
    lamp        w² / Σ v² over the survivors v of the same layer with |v| ≥ |w|

LAMP (Lee et al., arXiv:2010.07611) ranks within a layer as |w| does, and is the same for a layer and for any multiple
of it. Before BatchNorm the scale of a layer says nothing, and |w| takes it for importance.

A threshold for the whole network cannot be honoured layer by layer, so the network is one site: a rewrite masks all
layers. Which round it is, the masked layers know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from compressor.errors import Refusal
from compressor.graph.editor import Editor
from compressor.graph.leaf import Leaf
from compressor.graph.network import Network
from compressor.plugin import Refused, Site
from compressor_plugins.common.replaceable import foreign_layers, weight_layers
from compressor_plugins.magnitude_prune.masked_layer import MaskedLayer, masked_layer
from compressor_plugins.magnitude_prune.schedule import RANGES, Schedule, pruned_count

SITE = "all"
KNOB = "fraction"

Score = Literal["magnitude", "lamp"]
Prunable = dict[str, nn.Linear | _ConvNd | MaskedLayer]
"""Layers by path, in order of execution."""


def places(network: Network, schedule: Schedule) -> Iterator[Site | Refused]:
    """One site for all layers, and a refusal for each layer that is left out."""
    layers, refused = _split(network)
    reason = _why_not(network, layers)
    if reason and layers:
        yield Refused(SITE, reason)
    elif layers:
        count = sum(int(_mask(leaf).sum()) for leaf in layers.values())
        nodes = tuple(node.name for node, _ in network.calls() if str(node.target) in layers)
        about = f"{count} weights of {len(layers)} layers, ranked together, round {_round(layers)}"
        yield Site(SITE, {KNOB: RANGES[schedule]}, nodes, about)
    yield from refused


def prune(editor: Editor, schedule: Schedule, fraction: float, rounds: int, score: Score = "magnitude") -> None:
    """Mask the next round's weights. Raises ``Refusal`` where no weight would go."""
    layers, _ = _split(editor.network)
    reason = _why_not(editor.network, layers)
    if reason:
        raise Refusal(reason, path=SITE)
    survivors = sum(int(_mask(leaf).sum()) for leaf in layers.values())
    count = pruned_count(survivors, schedule, fraction, _round(layers), rounds)
    if count == 0:
        raise Refusal(f"{fraction:g} of {survivors} weights is none", path=SITE)
    masks = smallest_out(list(layers.values()), count, score)
    tokens = {layer.path for layer in weight_layers(editor.network) if layer.tokens}
    for (path, leaf), mask in zip(layers.items(), masks, strict=True):
        editor.replace(path, masked_layer(leaf, mask, tokens=path in tokens))


@torch.no_grad()
def smallest_out(
    leaves: Sequence[nn.Linear | _ConvNd | MaskedLayer], count: int, score: Score = "magnitude"
) -> list[Tensor]:
    """New masks without the ``count`` surviving weights of the least score; the largest of every layer stays.

    A layer that lost every weight would pass nothing on. Of equal weights the first go first.
    """
    scores = []
    for leaf in leaves:
        surviving = (leaf.weight.abs() * _mask(leaf)).flatten()
        ranked = torch.where(_mask(leaf).flatten(), _SCORES[score](surviving), torch.inf)
        ranked[surviving.argmax()] = torch.inf
        scores.append(ranked)
    ranking = torch.cat(scores)
    count = min(count, int(ranking.isfinite().sum()))
    gone = torch.sort(ranking, stable=True).indices[:count]
    keep = torch.ones_like(ranking, dtype=torch.bool)
    keep[gone] = False
    parts = torch.split(keep, [len(ranked) for ranked in scores])
    return [part.view_as(leaf.weight) & _mask(leaf) for part, leaf in zip(parts, leaves, strict=True)]


def _lamp(magnitudes: Tensor) -> Tensor:
    """Of one layer's magnitudes, zero where a weight is gone; 0…1."""
    squares, order = magnitudes.double().square().sort()
    as_large = squares.flip(0).cumsum(0).flip(0)
    scores = torch.empty_like(squares)
    scores[order] = squares / as_large.clamp_min(torch.finfo(squares.dtype).tiny)
    return scores


_SCORES: Mapping[Score, Callable[[Tensor], Tensor]] = {"magnitude": Tensor.double, "lamp": _lamp}


def _split(network: Network) -> tuple[Prunable, list[Refused]]:
    plain = {layer.path: layer for layer in weight_layers(network)}
    layers: Prunable = {}
    refused: list[Refused] = []
    for path, leaf in network.leaves():
        if isinstance(leaf, MaskedLayer):
            layers[path] = leaf
        elif path in plain and plain[path].obstacle:
            refused.append(Refused(path, plain[path].obstacle))
        elif path in plain:
            layers[path] = plain[path].leaf
    refused += [Refused(path, why) for path, leaf, why in foreign_layers(network) if not isinstance(leaf, MaskedLayer)]
    return layers, refused


def _why_not(network: Network, layers: Prunable) -> str:
    if not layers:
        return "no layer to prune"
    signs = [path for path, leaf in network.leaves() if isinstance(leaf, Leaf) and leaf.takes_signs]
    if signs:  # a BatchNorm divides the constant's rounding error by a deviation of zero, and the sign is taken of that
        return f"{signs[0]} takes signs, and of channels that pruning leaves constant they would be chance"
    return ""


def _mask(leaf: nn.Linear | _ConvNd | MaskedLayer) -> Tensor:
    return leaf.mask if isinstance(leaf, MaskedLayer) else torch.ones_like(leaf.weight, dtype=torch.bool)


def _round(layers: Prunable) -> int:
    """The number of the round to come, from 1."""
    return 1 + max((int(leaf.rounds) for leaf in layers.values() if isinstance(leaf, MaskedLayer)), default=0)
