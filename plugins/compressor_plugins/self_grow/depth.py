"""Growing deeper: two ways to put layers behind a feature map x that at first pass it on as it is.

residual   x → x + F(x),  F = BN₀(W₂ ∗ φ(BN(W₁ ∗ x))),  BN₀ with γ = β = 0        (without BN: W₂ = 0)
dirac      x → φ(BN(I ∗ x)),  I the identity kernel, BN with γ = √(σ² + ε), β = μ of x    where φ(x) = x already

Residual: the first gradient reaches γ (or W₂) alone, with full strength, and the rest from then on (Goyal et al.,
arXiv:1706.02677; Zhang et al., arXiv:1901.09321). Behind a sum with a ReLU it stands behind the ReLU.
Dirac: Net2DeeperNet (Chen et al., arXiv:1511.05641). The statistics are those of x itself, so the BN is the identity in
train mode too, and stays it when statistics are measured again.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from compressor.graph.editor import Editor
from compressor.graph.leaf import Cost
from compressor.graph.network import Network
from compressor.graph.repair import CONVOLUTIONS
from compressor_plugins.common.calibration import activations
from compressor_plugins.common.neighbours import leaf_at
from compressor_plugins.common.spans import ACTIVATIONS
from compressor_plugins.self_grow.growth import AMOUNTS, Growth, chain_cost, distinct, seeded
from compressor_plugins.self_grow.places import DepthPlace, rounded

Chain = list[tuple[str, nn.Module]]

BATCH_NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}

IDEMPOTENT = (nn.ReLU, nn.ReLU6)
"""Activations that change nothing when applied twice."""


@dataclass(frozen=True)
class Residual(Growth):
    name: ClassVar[str] = "residual"
    place: DepthPlace
    normalised: bool
    activation: nn.Module

    @property
    def amounts(self) -> tuple[float, ...]:
        return distinct([self._hidden(amount) for amount in AMOUNTS])

    def added(self, network: Network, amount: float) -> Cost:
        with torch.device("meta"):
            return chain_cost(self._layers(amount), network.shape(self.place.node))

    def carry_out(self, editor: Editor, amount: float) -> None:
        chain = self._layers(amount)
        generator = seeded(self.place.name)
        layers = [leaf for _, leaf in chain if isinstance(leaf, _ConvNd | nn.Linear)]
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        last = chain[-1][1]
        nn.init.zeros_(last.get_parameter("weight"))
        nn.init.zeros_(last.get_parameter("bias"))
        editor.add_branch(self.place.node, chain, "grown")

    def _hidden(self, amount: float) -> int:
        return rounded(self.place.channels * amount)

    def _layers(self, amount: float) -> Chain:
        channels, hidden = self.place.channels, self._hidden(amount)
        chain: Chain = [("grown1", _layer(self.place, channels, hidden, not self.normalised))]
        if self.normalised:
            chain.append(("grown_bn1", BATCH_NORMS[self.place.axes](hidden)))
        chain.append(("grown_act", copy.deepcopy(self.activation)))
        chain.append(("grown2", _layer(self.place, hidden, channels, not self.normalised)))
        if self.normalised:
            chain.append(("grown_bn2", BATCH_NORMS[self.place.axes](channels)))
        return chain


@dataclass(frozen=True)
class Dirac(Growth):
    name: ClassVar[str] = "dirac"
    scaled: ClassVar[bool] = False
    place: DepthPlace
    normalised: bool
    activation: nn.Module

    @property
    def amounts(self) -> tuple[float, ...]:
        return AMOUNTS[:1]

    def added(self, network: Network, amount: float) -> Cost:
        with torch.device("meta"):
            return chain_cost(self._layers(), network.shape(self.place.node))

    def carry_out(self, editor: Editor, amount: float) -> None:
        chain = self._layers()
        convolution = chain[0][1]
        weight = convolution.get_parameter("weight")
        (nn.init.eye_ if self.place.last else nn.init.dirac_)(weight)
        if self.normalised:
            (x,) = activations(editor.require_evidence(), editor.network, [self.place.node])
            become_identity_on(chain[1][1], x)
        else:
            nn.init.zeros_(convolution.get_parameter("bias"))
        node = self.place.node
        for name, leaf in chain:
            node = editor.insert_after(node, leaf, name)

    def _layers(self) -> Chain:
        channels = self.place.channels
        chain: Chain = [("deeper", _layer(self.place, channels, channels, not self.normalised))]
        if self.normalised:
            chain.append(("bn", BATCH_NORMS[self.place.axes](channels)))
        chain.append(("act", copy.deepcopy(self.activation)))
        return chain


def depth_growths(network: Network, places: Sequence[DepthPlace]) -> list[tuple[DepthPlace, list[Growth]]]:
    """The ways to grow behind each place, the preferred one first. New layers look like the network's own."""
    leaves = [leaf for _, leaf in network.leaves()]
    batch_normalised = any(isinstance(leaf, _BatchNorm) for leaf in leaves)
    plain = (leaf for leaf in leaves if isinstance(leaf, ACTIVATIONS) and not list(leaf.parameters()))
    activation = next(plain, nn.ReLU())
    found: list[tuple[DepthPlace, list[Growth]]] = []
    for place in places:
        normalised = batch_normalised and not place.last
        ways: list[Growth] = [Residual(place, normalised, activation)]
        own = leaf_at(network, place.node)
        if type(own) in IDEMPOTENT and own is not None:
            ways.append(Dirac(place, normalised, own))
        found.append((place, ways))
    return found


@torch.no_grad()
def become_identity_on(norm: nn.Module, x: Tensor) -> None:
    """Give a BatchNorm the statistics of ``x`` (N, C, …), and the scale and shift that undo them."""
    assert isinstance(norm, _BatchNorm)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    variance, mean = torch.var_mean(x, dim=[axis for axis in range(x.dim()) if axis != 1])
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_((norm.running_var + norm.eps).sqrt())
    norm.bias.copy_(mean)


def _layer(place: DepthPlace, inputs: int, outputs: int, bias: bool) -> nn.Module:
    """A convolution that keeps the size of the map; a linear layer over its pixels where their channels are last."""
    if place.last:
        return nn.Linear(inputs, outputs, bias=bias)
    layer: nn.Module = CONVOLUTIONS[place.axes](inputs, outputs, place.kernel, padding=place.kernel // 2, bias=bias)
    return layer
