"""Which linear and convolutional layers may be replaced by one that makes its weight itself, and why others may not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from torch import fx, nn
from torch.nn.modules.conv import _ConvNd

from compressor.graph.leaf import Leaf
from compressor.graph.network import Network
from compressor_plugins.common.neighbours import source_of

KINDS: tuple[type[nn.Module], ...] = (
    nn.Linear,
    nn.Conv1d, nn.Conv2d, nn.Conv3d,
    nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
"""Exactly these classes: what derives from them may compute something else."""


@dataclass(frozen=True)
class WeightLayer:
    """A linear or convolutional layer of a network, the nodes that call it, and why it cannot be replaced (or "")."""

    path: str
    leaf: nn.Linear | _ConvNd
    calls: tuple[fx.Node, ...]
    obstacle: str
    tokens: bool = False
    """A linear layer whose samples are more than one row of features: tokens, or an image with its channels last."""

    @property
    def unplain(self) -> str:
        """Why the layer is none of the two plain kinds, rows and images; empty where it is."""
        if self.tokens:
            return "is a linear layer over tokens or channels-last images, not over one row of features per sample"
        if isinstance(self.leaf, nn.Linear | nn.Conv2d):
            return ""
        return f"is a {type(self.leaf).__name__}, not a linear layer or a convolution of images"


def weight_layers(network: Network) -> Iterator[WeightLayer]:
    """Every linear and convolutional layer in order of first execution, found in one pass."""
    leaves: dict[str, nn.Linear | _ConvNd] = {}
    calls: dict[str, list[fx.Node]] = {}
    owners: dict[int, list[str]] = {}
    for node, leaf in network.calls():
        if not is_weight_layer(leaf):
            continue
        path = str(node.target)
        if path not in leaves:
            owners.setdefault(id(leaf.weight), []).append(path)
        leaves[path] = leaf
        calls.setdefault(path, []).append(node)
    for path, layer in leaves.items():
        others = [owner for owner in owners[id(layer.weight)] if owner != path]
        shared = f"shares its weight with {', '.join(others)}" if others else ""
        tokens = isinstance(layer, nn.Linear) and takes_tokens(network, calls[path])
        yield WeightLayer(path, layer, tuple(calls[path]), shared or _why_no_form(layer), tokens)


def is_weight_layer(leaf: nn.Module) -> TypeGuard[nn.Linear | _ConvNd]:
    return type(leaf) in KINDS


def takes_tokens(network: Network, calls: Sequence[fx.Node]) -> bool:
    """Whether a sample is anywhere more than one row of features."""
    return any(len(network.shape(source_of(call))) > 1 for call in calls)


def foreign_layers(network: Network) -> Iterator[tuple[str, Leaf, str]]:
    """Layers of plugins that hold weights of their own, and why those cannot be stored in yet another form."""
    for path, leaf in network.leaves():
        if isinstance(leaf, Leaf) and any(parameter.dim() > 1 for parameter in leaf.parameters()):
            yield path, leaf, f"is a {type(leaf).__name__}, which stores its weights in a form of its own"


def _why_no_form(leaf: nn.Linear | _ConvNd) -> str:
    if isinstance(leaf, nn.Linear):
        return ""
    if leaf.padding_mode != "zeros":
        return f"pads with {leaf.padding_mode}, not zeros"
    try:
        symmetric_padding(leaf)
    except ValueError as error:
        return str(error)
    return ""


def symmetric_padding(conv: _ConvNd) -> tuple[int, ...]:
    """Zeros added on each side, per axis. Raises ``ValueError`` where the two sides differ."""
    if conv.padding == "valid":
        return (0,) * len(conv.kernel_size)
    if isinstance(conv.padding, str):
        totals = [dilation * (kernel - 1) for dilation, kernel in zip(conv.dilation, conv.kernel_size, strict=True)]
        if any(total % 2 for total in totals):
            raise ValueError("padding 'same' of an even kernel is unequal on the two sides")
        return tuple(total // 2 for total in totals)
    return tuple(int(value) for value in conv.padding)


def pair(values: Sequence[int]) -> tuple[int, int]:
    """Two plain integers: (vertical, horizontal)."""
    first, second = values
    return int(first), int(second)
