"""Meta layers: a dense layer as G small ones on slices of its input, mixed by a matrix of G·M numbers.

    Linear (K → H)     →  G × Linear (K/G → L), PReLU where wanted, Meta (G, M)         M·L = H
    ConvNd (C → D)     →  G × ConvNd (C/G → L), Meta (G, M)                             M·L = D,  N = 1, 2, 3

    y[m] = Σ_g A[g, m] · φ(W[g] ∗ x[g] + b[g])

Parameters: G·(K/G·L + L) + G·M, and one slope per group with PReLU: about 1/M of the dense layer's. With R results per
group (``rank``) instead of one it is R times as many, and the mix has G·R rows. The activation behind the layer is the
network's own and stays.

With PReLU groups and mix cannot become one product, and small layers would run slower than the dense ones they replace,
in any form (0.5× to 0.95×). They are refused (``layers.prelu_pays``), unless ``allow_slower`` says that bytes
matter more: layers under 80,000 weights in groups of up to ten results, wider groups that save under 190,000. Without
PReLU the file runs the dense product where that is faster, so nothing gets slower.

Warm start: the rank-R singular value decomposition of each group's weights, in the norm of the outputs where there is
data (``fit``). PReLU slopes start at 1, where the layer is linear and the decomposition the best one. Weights that
were trained without this structure keep 15–26 % of their energy at R = 1: promised is nothing before training. Hidden
units may be counted in any order, and take the one in which more is kept (``order``): all of it where there is a
structure that other numbers hid, and some points where there is none.

Source: Kondaurova & Semenov, "Optimization of the number of parameters…": its Meta head has (G, M, L) = (4, 4, 10)
for the smallest network and (16, 8, 8) for the others. Its text counts (K/G)·L + G², forgetting the factor G; its code
takes the softmax of A and then does not use it, hence ``normalise``. The layers and their forms in a file: ``layers``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from compressor.errors import Refusal
from compressor.evidence import Evidence
from compressor.graph.channels import plan_reorder
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.knobs import Choice, Choices
from compressor.plugin import Plugin, Promise, Refused, Site
from compressor_plugins.common.calibration import activations
from compressor_plugins.common.geometry import Geometry
from compressor_plugins.common.neighbours import source_of
from compressor_plugins.common.patches import patches
from compressor_plugins.common.replaceable import WeightLayer, weight_layers
from compressor_plugins.meta_head.fit import GroupMoments, fit_bias, fit_groups, group_moments, rows_by_group
from compressor_plugins.meta_head.layers import MetaConv, MetaLayer, MetaLinear, Normalise, prelu_pays
from compressor_plugins.meta_head.order import better_order

GROUPS, MIXED = "groups", "mixed"
WORTHWHILE = 0.01
"""Share of the weights' energy that another order has to keep more."""
LARGEST_GROUP = 1600
"""Inputs of a group up to which its covariance is taken; beyond, the fit is that of the weights themselves."""


@dataclass(frozen=True)
class MetaHead(Plugin):
    """Split dense layers into groups of inputs and mix the groups' small results by a Meta layer."""

    promise: ClassVar[Promise] = Promise.TRAINED

    layers: Literal["both", "linear", "conv"] = "both"
    """Hidden linear layers, convolutions, or both."""
    activation: Literal["none", "prelu"] = "none"
    """What linear layers do to the groups' results before they are mixed: nothing, or the document's PReLU."""
    rank: int = 1
    """Results per group."""
    normalise: Normalise = "none"
    """Mix by the matrix itself, or by its softmax over the groups."""
    dropout: float = 0.1
    """On the groups' results, in training, with PReLU."""
    permute: bool = True
    """Count the hidden units of linear layers in the order in which the groups come closest to the weights."""
    allow_slower: bool = False
    """Also with PReLU where that runs slower than the layer it replaces."""
    min_bytes: int = 2000
    """Layers and choices that save less are left out."""

    def sites(self, network: Network) -> Iterator[Site | Refused]:
        layers = list(weight_layers(network))
        for layer in layers:
            if not self._admits(layer.leaf):
                continue
            reason = self._why_not(layer, layer is layers[-1])
            if reason:
                yield Refused(layer.path, reason)
            else:
                knobs = {
                    name: Choice(tuple(values)) for name, values in self._choices(layer).items() if len(values) > 1
                }
                yield Site(layer.path, knobs, tuple(call.name for call in layer.calls), _about(layer.leaf))

    def rewrite(self, editor: Editor, site: Site, choice: Choices) -> None:
        layers = list(weight_layers(editor.network))
        layer = next((found for found in layers if found.path == site.path), None)
        if layer is None or not self._admits(layer.leaf):
            raise Refusal("is no linear or convolutional layer of the network as it is now", path=site.path)
        reason = self._why_not(layer, layer is layers[-1])
        if reason:
            raise Refusal(reason, path=site.path)
        choices = self._choices(layer)
        groups, mixed = (int(choice.get(name, choices[name][0])) for name in (GROUPS, MIXED))
        known = _moments(editor.evidence, editor.network, layer, groups)
        others = self._in_order(editor.network, layer, groups, mixed, known)
        leaf = others.pop(site.path, layer.leaf)
        substitute = self._substitute(leaf, math.prod(editor.network.shape(layer.calls[0])[1:]), groups, mixed, known)
        for path, other in others.items():
            editor.replace(path, other)
        editor.replace(site.path, substitute)

    def _admits(self, leaf: nn.Module) -> bool:
        return self.layers == "both" or isinstance(leaf, nn.Linear) == (self.layers == "linear")

    def _why_not(self, layer: WeightLayer, last: bool) -> str:
        if layer.obstacle:
            return layer.obstacle
        if layer.tokens:
            return layer.unplain
        if isinstance(layer.leaf, _ConvNd) and layer.leaf.transposed:
            return (
                f"is a {type(layer.leaf).__name__}: groups of inputs are made for convolutions that are not transposed"
            )
        if isinstance(layer.leaf, _ConvNd) and layer.leaf.groups > 1:
            return "is grouped already"
        if isinstance(layer.leaf, nn.Linear) and last:
            return "gives the classes: there is no layer behind it to make up for the structure"
        if not all(self._choices(layer).values()):
            outputs, inputs = layer.leaf.weight.shape[:2]
            if self.activation == "prelu" and all(replace(self, allow_slower=True)._choices(layer).values()):
                return "with PReLU it would run slower than the dense layer: see activation and allow_slower"
            return f"no groups of {inputs} inputs and parts of {outputs} outputs save {self.min_bytes} bytes"
        return ""

    def _choices(self, layer: WeightLayer) -> dict[str, list[int]]:
        """Useful numbers of groups G and of mixtures M, the defaults first. Any two of them pay."""
        outputs, inputs, *kernel = layer.leaf.weight.shape
        conv = not isinstance(layer.leaf, nn.Linear)
        groups = [g for g in ((4, 2, 8, 16) if conv else (16, 4, 8, 32)) if inputs % g == 0 and inputs // g >= 4]
        mixed = [m for m in (4, 8, 2, 16) if outputs % m == 0 and outputs // m >= 2]
        if conv:  # the runtime's blocks of channels
            groups.sort(key=lambda count: inputs // count % 16 != 0)
        taps, before = math.prod(kernel), layer.leaf.weight.numel()

        def pays(count: int, parts: int) -> bool:
            left = self._parameters(count, parts, inputs, outputs, taps)
            slow = not conv and self.activation == "prelu" and not self.allow_slower
            fast = not slow or prelu_pays(inputs, outputs, count, parts, self.rank)
            return 4 * (before - left) >= self.min_bytes and fast

        groups = [count for count in groups if any(pays(count, parts) for parts in mixed)]
        offers = [groups[:many] for many in range(len(groups), 0, -1)]
        common = [[parts for parts in mixed if all(pays(count, parts) for count in some)] for some in offers]
        some, parts = max(
            zip(offers, common, strict=True), key=lambda pair: len(pair[0]) * len(pair[1]), default=([], [])
        )
        return {GROUPS: some, MIXED: parts}

    def _parameters(self, groups: int, mixed: int, inputs: int, outputs: int, taps: int) -> int:
        results, width = groups * self.rank, outputs // mixed
        return results * (inputs // groups * taps * width + width + mixed + 1)

    def _in_order(
        self, network: Network, layer: WeightLayer, groups: int, mixed: int, known: GroupMoments | None
    ) -> dict[str, nn.Module]:
        """The layer and all that is coupled to it with the hidden units in a better order; empty to leave them."""
        if not self.permute or not isinstance(layer.leaf, nn.Linear):
            return {}
        order = better_order(rows_by_group(layer.leaf.weight, groups, known), mixed, WORTHWHILE, self.rank)
        if order is None:
            return {}
        try:
            return dict(plan_reorder(network, layer.path, order.tolist()))
        except Refusal:  # its units are counted by something else
            return {}

    def _substitute(
        self, leaf: nn.Module, positions: int, groups: int, mixed: int, known: GroupMoments | None
    ) -> MetaLayer:
        assert isinstance(leaf, nn.Linear | _ConvNd)
        softmax = self.normalise == "softmax"
        flat = leaf.weight.detach().flatten(1)
        own, mix = fit_groups(flat, groups, mixed, self.rank, softmax=softmax, known=known)
        bias = None
        if leaf.bias is not None:
            mixing = mix.softmax(0) if softmax else mix
            bias = fit_bias(flat, leaf.bias, own, mixing, groups, known)
        if isinstance(leaf, nn.Linear):
            prelu = self.activation == "prelu"
            slope, dropout = (torch.ones(len(own)), self.dropout) if prelu else (None, 0.0)
            return MetaLinear(own, bias, mix, groups, slope=slope, dropout=dropout, normalise=self.normalise)
        geometry = Geometry.of(leaf)
        assert geometry is not None
        return MetaConv(
            own.view(*own.shape[:2], -1, *leaf.kernel_size),
            bias,
            mix,
            groups,
            geometry=replace(geometry, groups=groups),
            positions=positions,
            normalise=self.normalise,
        )


def _moments(evidence: Evidence | None, network: Network, layer: WeightLayer, groups: int) -> GroupMoments | None:
    """Of the layer's input as its weight reads it; None without data, where groups are too large, and for lines and
    volumes, of which no patches are taken."""
    size = layer.leaf.weight[0].numel() // groups
    if evidence is None or size > LARGEST_GROUP:
        return None
    x: Tensor = activations(evidence, network, [source_of(layer.calls[0])])[0]
    if isinstance(layer.leaf, nn.Linear):
        return group_moments(x, groups)
    if not isinstance(layer.leaf, nn.Conv2d):
        return None
    return group_moments(patches(x, layer.leaf, max(2048, 2 * size)), groups)


def _about(leaf: nn.Module) -> str:
    assert isinstance(leaf, nn.Linear | _ConvNd)
    outputs, inputs = leaf.weight.shape[:2]
    return f"{inputs} → {outputs}, {leaf.weight.numel():,} weights"
