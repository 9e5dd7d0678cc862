"""The ways to cut a span out, each of which knows whether it fits, what it would save, and how it is done.

identity   users of the span take its input; where space shrinks, average pooling stands in for the strides
map        a 1×1 convolution fitted by least squares stands in for the span, behind pooling where space shrinks
merge      users are one layer W: it takes the span's input through the fitted map M, composed into W∘M
compose    a convolution and the convolution behind it become one; what lies between goes, but for its linear part
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from compressor.graph.cost import cost_of
from compressor.graph.editor import Editor
from compressor.graph.leaf import Cost
from compressor.graph.network import Network
from compressor.graph.repair import CONVOLUTIONS, pooling
from compressor.graph.shapes import input_shapes
from compressor_plugins.common.calibration import activations
from compressor_plugins.common.layout import channels_last, meets, size, width
from compressor_plugins.common.neighbours import behind, leaf_at, only_user
from compressor_plugins.common.replaceable import symmetric_padding
from compressor_plugins.common.spans import Span, is_activation
from compressor_plugins.layer_removal.compose import affine_between, composed, composed_window
from compressor_plugins.layer_removal.least_squares import fit_affine, pixels

FORWARDS = tuple(CONVOLUTIONS.values())
"""Convolutions of lines, images and volumes."""
MOST_COMPOSED_MACS = 0.75
"""Of the two convolutions' multiply-accumulates. In ONNX Runtime one convolution at this share or below was faster than
the two in every case measured (``benchmarks/payoffs/layer_removal.py``), by a fifth at least; near 1 it is a draw."""


@dataclass(frozen=True)
class Way(ABC):
    """One way to cut one span out of one network."""

    name: ClassVar[str]
    span: Span
    saved: Cost
    added: Cost

    @property
    def worthwhile(self) -> bool:
        """Fewer multiply-accumulates, and no more bytes. A normalisation alone saves none: export folds it away."""
        return self.added.mac_count < self.saved.mac_count and self.added.weight_bytes <= self.saved.weight_bytes

    def saving(self, whole: Cost) -> float:
        """Shares of the whole network's weight bytes and multiply-accumulates, added up."""
        stored = (self.saved.weight_bytes - self.added.weight_bytes) / max(whole.weight_bytes, 1)
        return stored + (self.saved.mac_count - self.added.mac_count) / max(whole.mac_count, 1)

    @abstractmethod
    def carry_out(self, editor: Editor) -> None:
        """Do it. Raises ``Refusal`` before the first edit where evidence is needed and missing."""


@dataclass(frozen=True)
class Identity(Way):
    name: ClassVar[str] = "identity"

    def carry_out(self, editor: Editor) -> None:
        pool = _pool(editor.network, self.span.source, self.span.last)
        editor.remove_span(self.span.source, self.span.last, [("pool", pool)] if pool else [])


@dataclass(frozen=True)
class Map(Way):
    """``last`` is where the fit ends: before the activation of a layer, which stays."""

    name: ClassVar[str] = "map"
    last: fx.Node
    rectified: bool
    """A ReLU follows the map, since what it stands in for is never negative."""

    def carry_out(self, editor: Editor) -> None:
        network, source = editor.network, self.span.source
        pool = _pool(network, source, self.last)
        x, y = activations(editor.require_evidence(), network, [source, self.last])
        last = channels_last(network, self.last)
        matrix, shift = fit_affine(pixels(pool(x) if pool else x, last=last), pixels(y, last=last))
        chain: list[tuple[str, nn.Module]] = [("pool", pool)] if pool else []
        chain.append(("map", _pointwise(matrix, shift, 0 if last else y.dim() - 2)))
        if self.rectified:
            chain.append(("relu", nn.ReLU()))
        editor.remove_span(source, self.last, chain)


@dataclass(frozen=True)
class Merge(Way):
    name: ClassVar[str] = "merge"
    into: fx.Node
    """The call of the layer that takes the map in."""

    def carry_out(self, editor: Editor) -> None:
        network, layer = editor.network, self.span.nodes[0]
        user = leaf_at(network, self.into)
        pool = _pool(network, self.span.source, self.span.last)
        evidence = editor.require_evidence()
        x, before, after = activations(evidence, network, [self.span.source, layer, self.span.last])
        merged: nn.Module
        if isinstance(user, nn.Linear):
            rows = (value.flatten(0, -2) for value in (x, before, after))
            merged = _merged_linear(leaf_at(network, layer), user, *rows)
        else:
            assert isinstance(user, _ConvNd)
            merged = _merged_convolution(user, pool(x) if pool else x, after)
        editor.remove_span(self.span.source, self.into, [("pool", pool), ("", merged)] if pool else [("", merged)])


@dataclass(frozen=True)
class Compose(Way):
    name: ClassVar[str] = "compose"
    into: fx.Node
    """The call of the second convolution."""
    linear: bool
    """Nothing but a normalisation between the two: the same function, but for the rim where the second one pads."""

    @property
    def worthwhile(self) -> bool:
        """By what was measured to run faster, see ``MOST_COMPOSED_MACS``."""
        return super().worthwhile and self.added.mac_count <= MOST_COMPOSED_MACS * self.saved.mac_count

    def carry_out(self, editor: Editor) -> None:
        network = editor.network
        first, second = leaf_at(network, self.span.nodes[0]), leaf_at(network, self.into)
        assert isinstance(first, _ConvNd)
        assert isinstance(second, _ConvNd)
        between = _normalisation(network, self.span.nodes)
        if any(is_activation(network, node) for node in self.span.nodes):
            evidence = editor.require_evidence()
            between = affine_between(*activations(evidence, network, [self.span.nodes[0], self.span.last]))
        editor.remove_span(self.span.source, self.into, [("", composed(first, second, *between))])


def ways(network: Network, span: Span, calls: Counter[str]) -> list[Way]:
    """The ways that fit and save something: what misses nothing, then, where the channels change, the cheapest first.

    ``calls`` counts the calls of every leaf in the network.
    """
    compose = _compose(network, span, calls)
    candidates: list[Way | None] = [_merge(network, span, calls)]
    widens = width(network, span.source) != width(network, span.last)
    if meets(network, span.source, span.last):
        if not widens:
            candidates.append(Identity(span, _cost(network, span.nodes, calls), Cost()))
        candidates.append(_map(network, span, calls))
    fitting = [way for way in [*candidates, compose] if way is not None and way.worthwhile]
    if widens:
        fitting.sort(key=lambda way: way.added.weight_bytes - way.saved.weight_bytes)
    return sorted(fitting, key=lambda way: not (isinstance(way, Compose) and way.linear))


# --- what fits where -------------------------------------------------------------------------------------------------


def _map(network: Network, span: Span, calls: Counter[str]) -> Map | None:
    nodes = list(span.nodes)
    if span.kind != "block":
        start = max(index for index, node in enumerate(nodes) if not _tail_like(network, node))
        stop = next((i for i in range(start, len(nodes)) if is_activation(network, nodes[i])), len(nodes))
        nodes = nodes[:stop]
    last = nodes[-1]
    if len(network.shape(last)) == 1 or not meets(network, span.source, last):
        return None
    given, wanted = width(network, span.source), width(network, last)
    added = Cost({32: given * wanted + wanted}, {32: given * wanted * math.prod(size(network, last))})
    return Map(span, _cost(network, nodes, calls), added, last, _never_negative(network, last))


def _tail_like(network: Network, node: fx.Node) -> bool:
    leaf = leaf_at(network, node)
    return is_activation(network, node) or isinstance(leaf, nn.modules.batchnorm._BatchNorm | nn.Dropout | nn.Identity)


def _merge(network: Network, span: Span, calls: Counter[str]) -> Merge | None:
    if span.kind != "layer" or calls[str(span.nodes[0].target)] != 1:
        return None
    rows = len(network.shape(span.last)) == 1
    user = behind(network, span.last) if rows else only_user(span.last)
    leaf = leaf_at(network, user)
    if user is None or leaf is None or calls[str(user.target)] != 1:
        return None
    if not _takes_in(leaf, linear=rows or channels_last(network, span.last)):
        return None
    if len(network.shape(span.source)) != len(network.shape(span.last)) or not _same_rows(network, span):
        return None
    saved = _cost(network, [*span.nodes, user], calls)
    return Merge(span, saved, _merged_cost(network, span, user), user)


def _takes_in(leaf: nn.Module, *, linear: bool) -> bool:
    """Whether the layer can take a map of its input's channels into its weights."""
    if linear:
        return type(leaf) is nn.Linear
    return type(leaf) in FORWARDS and isinstance(leaf, _ConvNd) and leaf.groups == 1 and leaf.padding_mode == "zeros"


def _same_rows(network: Network, span: Span) -> bool:
    """Pixels with their channels last cannot be pooled."""
    return not channels_last(network, span.last) or meets(network, span.source, span.last)


def _compose(network: Network, span: Span, calls: Counter[str]) -> Compose | None:
    user = only_user(span.last)
    if span.kind != "layer" or user is None:
        return None
    pair = [leaf_at(network, node) for node in (span.nodes[0], user)]
    first, second = pair
    if not (isinstance(first, _ConvNd) and isinstance(second, _ConvNd)):
        return None
    alone = calls[str(span.nodes[0].target)] == calls[str(user.target)] == 1
    if not alone or not (_composable(first) and _composable(second)):
        return None
    form = composed_window(first, second)
    weights = second.out_channels * first.in_channels * math.prod(form.kernel)
    places = math.prod(network.shape(user)[1:])
    added = Cost({32: weights + second.out_channels}, {32: weights * places})
    linear = not any(is_activation(network, node) for node in span.nodes)
    saved = _cost(network, [*span.nodes, user], calls)
    return Compose(span, saved, added, user, linear)


def _composable(layer: _ConvNd) -> bool:
    if type(layer) not in FORWARDS or layer.groups != 1 or layer.padding_mode != "zeros":
        return False
    try:
        symmetric_padding(layer)
    except ValueError:
        return False
    return True


def _merged_cost(network: Network, span: Span, user: fx.Node) -> Cost:
    """Of the user, taking as many channels as enter the span, with a bias."""
    old = cost_of(network.leaf(str(user.target)), *input_shapes(user))
    given, wanted, outputs = (width(network, node) for node in (span.source, span.last, user))
    weights = network.leaf(str(user.target)).get_parameter("weight").numel()
    macs = {bits: count * given // wanted for bits, count in old.macs.items()}
    return Cost({32: weights * given // wanted + outputs}, macs)


def _cost(network: Network, nodes: Sequence[fx.Node], calls: Counter[str]) -> Cost:
    """What goes when these nodes go: their MACs, and the parameters of leaves called nowhere else."""
    total = Cost()
    inside = Counter(str(node.target) for node in nodes if node.op == "call_module")
    paid: set[str] = set()
    for node in nodes:
        if node.op == "call_module":
            path = str(node.target)
            cost = cost_of(network.leaf(path), *input_shapes(node))
            total += cost if inside[path] == calls[path] and path not in paid else Cost(macs=cost.macs)
            paid.add(path)
    return total


def _never_negative(network: Network, node: fx.Node) -> bool:
    """Whether the value is joined from outputs of ReLUs."""
    leaf = leaf_at(network, node)
    if node.op == "call_module":
        return isinstance(leaf, nn.ReLU | nn.ReLU6)
    sources = node.all_input_nodes
    return bool(sources) and all(isinstance(leaf_at(network, source), nn.ReLU | nn.ReLU6) for source in sources)


# --- fits ------------------------------------------------------------------------------------------------------------


def _pool(network: Network, source: fx.Node, last: fx.Node) -> nn.Module | None:
    given, wanted = size(network, source), size(network, last)
    return None if given == wanted else pooling(given, wanted)


def _pointwise(matrix: Tensor, shift: Tensor, rank: int) -> nn.Module:
    """A 1×1 convolution over ``rank`` dimensions, or for 0 a linear layer."""
    outputs, inputs = matrix.shape
    layer = CONVOLUTIONS[rank](inputs, outputs, 1) if rank else nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.copy_(matrix.view(outputs, inputs, *[1] * rank))
        layer.bias.copy_(shift)
    return layer


@torch.no_grad()
def _normalisation(network: Network, nodes: Sequence[fx.Node]) -> tuple[Tensor | None, Tensor | None]:
    """Scale and shift per channel of the normalisations among the nodes, in double precision; None where none is."""
    scale: Tensor | None = None
    shift: Tensor | None = None
    for leaf in (leaf_at(network, node) for node in nodes):
        if not isinstance(leaf, _BatchNorm):
            continue
        assert leaf.running_mean is not None
        assert leaf.running_var is not None
        slope = (leaf.running_var.double() + leaf.eps).rsqrt()
        slope = slope if leaf.weight is None else slope * leaf.weight.double()
        mean = leaf.running_mean.double()
        offset = -mean * slope if leaf.bias is None else leaf.bias.double() - mean * slope
        scale, shift = (slope, offset) if scale is None or shift is None else (scale * slope, shift * slope + offset)
    return scale, shift


@torch.no_grad()
def _merged_linear(layer: nn.Module | None, user: nn.Linear, x: Tensor, before: Tensor, after: Tensor) -> nn.Linear:
    """The user's output as a linear function of the span's input.

    Where samples are too few to say, the fit goes to W₂ diag(s) W₁, s the slope of each hidden unit over its own range.
    """
    prior = None
    if isinstance(layer, nn.Linear):
        centred = before - before.mean(0)
        slope = (centred * (after - after.mean(0))).mean(0) / centred.square().mean(0).clamp_min(1e-12)
        prior = user.weight @ (slope[:, None] * layer.weight)
    matrix, shift = fit_affine(x, user(after), prior)
    merged = nn.Linear(x.shape[1], user.out_features)
    merged.weight.copy_(matrix)
    merged.bias.copy_(shift)
    return merged


@torch.no_grad()
def _merged_convolution(user: _ConvNd, x: Tensor, after: Tensor) -> nn.Module:
    """W∘M as one convolution; exact but for the rim, where the user pads with zeros and not with M's bias."""
    matrix, shift = fit_affine(pixels(x), pixels(after))
    window = (user.kernel_size, user.stride, user.padding, user.dilation)
    merged = CONVOLUTIONS[len(user.kernel_size)](x.shape[1], user.out_channels, *window)
    merged.weight.copy_(torch.einsum("de...,ec->dc...", user.weight, matrix))
    bias = torch.einsum("dek,e->d", user.weight.flatten(2), shift)
    merged.bias.copy_(bias if user.bias is None else bias + user.bias)
    return merged  # type: ignore[no-any-return]
