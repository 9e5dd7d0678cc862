"""Which linear and convolutional layers may be replaced by one that makes its weight itself, and why others may not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import fx, nn

from compressor.graph.leaf import Leaf
from compressor.graph.network import Network
from compressor_plugins.common.neighbours import source_of


@dataclass(frozen=True)
class WeightLayer:
    """A linear or convolutional layer of a network, the nodes that call it, and why it cannot be replaced (or "")."""

    path: str
    leaf: nn.Linear | nn.Conv2d
    calls: tuple[fx.Node, ...]
    obstacle: str


def weight_layers(network: Network) -> Iterator[WeightLayer]:
    """Every linear and 2-D convolutional layer in order of first execution, found in one pass."""
    leaves: dict[str, nn.Linear | nn.Conv2d] = {}
    calls: dict[str, list[fx.Node]] = {}
    owners: dict[int, list[str]] = {}
    for node, leaf in network.calls():
        if type(leaf) not in (nn.Linear, nn.Conv2d):
            continue
        path = str(node.target)
        if path not in leaves:
            owners.setdefault(id(leaf.weight), []).append(path)
        leaves[path] = leaf  # type: ignore[assignment]
        calls.setdefault(path, []).append(node)
    for path, layer in leaves.items():
        others = [owner for owner in owners[id(layer.weight)] if owner != path]
        shared = f"shares its weight with {', '.join(others)}" if others else ""
        yield WeightLayer(path, layer, tuple(calls[path]), shared or _why_no_form(network, layer, calls[path]))


def foreign_layers(network: Network) -> Iterator[tuple[str, Leaf, str]]:
    """Layers of plugins that hold weights of their own, and why those cannot be stored in yet another form."""
    for path, leaf in network.leaves():
        if isinstance(leaf, Leaf) and any(parameter.dim() > 1 for parameter in leaf.parameters()):
            yield path, leaf, f"is a {type(leaf).__name__}, which stores its weights in a form of its own"


def _why_no_form(network: Network, leaf: nn.Linear | nn.Conv2d, calls: Sequence[fx.Node]) -> str:
    if isinstance(leaf, nn.Linear):
        rows = all(len(network.shape(source_of(call))) == 1 for call in calls)
        return "" if rows else "its input is not a row of features per sample"
    if leaf.padding_mode != "zeros":
        return f"pads with {leaf.padding_mode}, not zeros"
    try:
        symmetric_padding(leaf)
    except ValueError as error:
        return str(error)
    return ""


def symmetric_padding(conv: nn.Conv2d) -> tuple[int, int]:
    """Zeros added on each side, per axis. Raises ``ValueError`` where the two sides differ."""
    if conv.padding == "valid":
        return (0, 0)
    if isinstance(conv.padding, str):
        totals = [dilation * (kernel - 1) for dilation, kernel in zip(conv.dilation, conv.kernel_size, strict=True)]
        if any(total % 2 for total in totals):
            raise ValueError("padding 'same' of an even kernel is unequal on the two sides")
        return (totals[0] // 2, totals[1] // 2)
    return pair(conv.padding)


def pair(values: Sequence[int]) -> tuple[int, int]:
    """Two plain integers: (vertical, horizontal)."""
    first, second = values
    return int(first), int(second)
