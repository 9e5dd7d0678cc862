"""Growing wider: two ways to give a layer more channels without changing what its taker makes of them.

    y = B φ(A x)

copy      unit j twice, its outgoing weights b_j shared out:  b_j → b_j/2 + n,  b_j/2 − n    (Net2WiderNet,
          Chen et al., arXiv:1511.05641; the noise n breaks the tie between the copies and cancels in their sum)
gradmax   new units with incoming weights 0, so φ(0) = 0 leaves them silent, and as outgoing weights the directions in
          which the loss changes fastest: the first left singular vectors of ∂L/∂P for a convolution P added beside
          B φ(A ·) at P = 0 (Evci et al., arXiv:2201.05125)

GradMax needs a gradient through φ at 0. A ReLU has none in torch, so its new units get a bias of 1e-8: below the
rounding of any output, and enough to hold them open. Behind a BatchNorm a silent unit would be brought to unit variance
in the first training step, so GradMax is not offered there.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from compressor.graph.cost import cost_of
from compressor.graph.editor import Editor
from compressor.graph.leaf import Cost
from compressor.graph.network import Network
from compressor.graph.shapes import input_shapes
from compressor_plugins.common.neighbours import leaf_at
from compressor_plugins.self_grow.gradmax import KINKED, SMOOTH, linear_between, steepest_outputs
from compressor_plugins.self_grow.growth import AMOUNTS, Growth, distinct, seeded
from compressor_plugins.self_grow.places import WidthPlace, rounded

HELD_OPEN = 1e-8


@dataclass(frozen=True)
class Copy(Growth):
    name: ClassVar[str] = "copy"
    place: WidthPlace
    noise: float
    """Of the tie-breaking, relative to the root mean square of the taker's weights."""

    @property
    def amounts(self) -> tuple[float, ...]:
        return width_amounts(self.place)

    def added(self, network: Network, amount: float) -> Cost:
        return width_cost(network, self.place, amount)

    def carry_out(self, editor: Editor, amount: float) -> None:
        network, place = editor.network, self.place
        count = new_channels(place, amount)
        importance = _outgoing(network, place).norm(dim=(0, 2)) * _incoming(network, place).norm(dim=1)
        chosen = sorted(importance.topk(count).indices.tolist())
        editor.duplicate_channels(place.name, chosen)
        if self.noise:
            path = str(place.taker.target)
            taker = copy.deepcopy(editor.network.leaf(path))
            break_ties(taker.get_parameter("weight"), chosen, place.run, self.noise, seeded(place.name))
            editor.replace(path, taker)


@dataclass(frozen=True)
class GradMax(Growth):
    name: ClassVar[str] = "gradmax"
    place: WidthPlace
    directions: int
    """How many there are to choose from."""

    @property
    def amounts(self) -> tuple[float, ...]:
        return tuple(a for a in width_amounts(self.place) if new_channels(self.place, a) <= self.directions)

    def added(self, network: Network, amount: float) -> Cost:
        return width_cost(network, self.place, amount)

    @torch.no_grad()
    def carry_out(self, editor: Editor, amount: float) -> None:
        network, place = editor.network, self.place
        count = new_channels(place, amount)
        directions = steepest_outputs(editor.require_evidence(), network, place, count)
        length = _outgoing(network, place).norm(dim=(0, 2)).mean()
        layer, taker = (copy.deepcopy(leaf_at(network, node)) for node in (place.layer, place.taker))
        assert isinstance(layer, nn.Linear | _ConvNd)
        assert isinstance(taker, nn.Linear | _ConvNd)
        _grow(layer, "weight", torch.zeros_like(layer.weight[:1]).expand(count, *layer.weight.shape[1:]), 0)
        if layer.bias is not None:
            held = HELD_OPEN if needs_holding_open(network, place) else 0.0
            _grow(layer, "bias", torch.full_like(layer.bias[:1], held).expand(count), 0)
        _grow(taker, "weight", directions * length, 1)
        _count_outputs(layer)
        _count_inputs(taker)
        editor.replace(place.name, layer)
        editor.replace(str(place.taker.target), taker)


def width_growths(network: Network, place: WidthPlace, noise: float) -> list[Growth]:
    """The ways to widen a place, the preferred one first."""
    ways: list[Growth] = [Copy(place, noise)] if place.channels > 1 else []
    if _gradmax_fits(network, place):
        outputs, _, window = _outgoing(network, place).shape
        gradmax = GradMax(place, min(_incoming(network, place).shape[1], outputs * window))
        return [gradmax, *ways] if gradmax.amounts else ways
    return ways


def new_channels(place: WidthPlace, amount: float) -> int:
    """At least the amount, rounded up to a width that runs well, at most as many as there are."""
    return min(rounded(place.channels * (1 + amount)), 2 * place.channels) - place.channels


def width_amounts(place: WidthPlace) -> tuple[float, ...]:
    return distinct([new_channels(place, amount) for amount in AMOUNTS])


def width_cost(network: Network, place: WidthPlace, amount: float) -> Cost:
    """Everything between the inputs of the layer and the sums of the taker, in proportion."""
    total = Cost()
    count, channels = new_channels(place, amount), place.channels
    for node in (place.layer, *place.between, place.taker):
        leaf = leaf_at(network, node)
        if leaf is None or (isinstance(leaf, nn.PReLU) and leaf.num_parameters == 1):
            continue
        cost = cost_of(leaf, *input_shapes(node))
        fixed = leaf.bias.numel() if node is place.taker and isinstance(leaf.bias, Tensor) else 0
        total += Cost(
            {bits: (number - fixed) * count // channels for bits, number in cost.parameters.items()},
            {bits: number * count // channels for bits, number in cost.macs.items()},
        )
    return total


def needs_holding_open(network: Network, place: WidthPlace) -> bool:
    return any(isinstance(leaf_at(network, node), KINKED) for node in place.between)


@torch.no_grad()
def break_ties(weight: Tensor, chosen: Sequence[int], run: int, noise: float, generator: torch.Generator) -> None:
    """Move the weights ``(outputs, inputs, …)`` of a channel and of its copy, which stands behind it, apart."""
    scale = noise * float(weight.square().mean().sqrt())
    for earlier, channel in enumerate(chosen):
        first = (channel + earlier) * run
        step = torch.randn(weight[:, first : first + run].shape, generator=generator).to(weight) * scale
        weight[:, first : first + run] += step
        weight[:, first + run : first + 2 * run] -= step


def _gradmax_fits(network: Network, place: WidthPlace) -> bool:
    activations = sum(isinstance(leaf_at(network, node), (*SMOOTH, *KINKED)) for node in place.between)
    biased = getattr(leaf_at(network, place.layer), "bias", None) is not None
    return (
        linear_between(network, place) is not None
        and activations <= 1
        and (biased or not needs_holding_open(network, place))
    )


def _incoming(network: Network, place: WidthPlace) -> Tensor:
    """``(channels, weights of one)``"""
    return network.leaf(place.name).get_parameter("weight").detach().flatten(1)


def _outgoing(network: Network, place: WidthPlace) -> Tensor:
    """``(outputs of the taker, channels, weights of one pair)``"""
    weight = network.leaf(str(place.taker.target)).get_parameter("weight").detach()
    return weight.reshape(len(weight), place.channels, -1)


def _grow(leaf: nn.Module, name: str, more: Tensor, dim: int) -> None:
    old = leaf.get_parameter(name)
    setattr(leaf, name, nn.Parameter(torch.cat([old.detach(), more.to(old)], dim), old.requires_grad))


def _count_outputs(leaf: nn.Linear | _ConvNd) -> None:
    if isinstance(leaf, nn.Linear):
        leaf.out_features = len(leaf.weight)
    else:
        leaf.out_channels = len(leaf.weight)


def _count_inputs(leaf: nn.Linear | _ConvNd) -> None:
    if isinstance(leaf, nn.Linear):
        leaf.in_features = leaf.weight.shape[1]
    else:
        leaf.in_channels = leaf.weight.shape[1]
