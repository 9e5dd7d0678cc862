"""Spans of a network that might be cut out, found in one pass over the graph.

    layer       a layer with the normalisation, activation and dropout that only it feeds; but a gate stays: in its
                place any value would multiply others, and over a few such products grow beyond all numbers
    bottleneck  a 1×1 layer (or one over channels-last pixels) that widens, up to the layer that narrows again
    block       all that lies between a place where the graph joins (sum, concatenation, product) and the last value
                every path to it passes (its immediate dominator): a residual block, a fire module, a dense block

There is at most one span of each kind per layer or join, so their number grows with the network and no faster.
Dominators: Cooper, Harvey & Kennedy, "A Simple, Fast Dominance Algorithm" (2001); on an acyclic graph one pass does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import fx, nn
from torch.nn.modules.conv import _ConvNd

from compressor.errors import Refusal
from compressor.graph.leaf import Leaf
from compressor.graph.network import Network
from compressor.graph.shape_rules.functions import operation
from compressor.graph.span import find_span
from compressor_plugins.common.layout import width
from compressor_plugins.common.neighbours import PASSIVE, behind, is_batch_norm, leaf_at, only_user, source_of

LAYERS = (_ConvNd, nn.Linear, Leaf)
ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus,
    nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish,
)  # fmt: skip
GATES = (nn.Sigmoid, nn.Hardsigmoid)
"""Activations between 0 and 1, where a product takes them."""
_MOST_BOTTLENECK_LAYERS = 4


@dataclass(frozen=True)
class Span:
    """``nodes`` in graph order lie between ``source``, which stays, and the last of them, which goes with the rest."""

    kind: Literal["layer", "bottleneck", "block"]
    source: fx.Node
    nodes: tuple[fx.Node, ...]

    @property
    def last(self) -> fx.Node:
        return self.nodes[-1]

    @property
    def path(self) -> str:
        """``first..last``; one name where the span is one node."""
        names = [_name(node) for node in (self.nodes[0], self.last)]
        return names[0] if len(self.nodes) == 1 else "..".join(names)


@dataclass(frozen=True)
class Obstacle:
    """Something that looks like a span and cannot be cut out."""

    path: str
    reason: str


def find_spans(network: Network) -> list[Span | Obstacle]:
    """All spans, in order of their ends; none of them is the output of the network."""
    order = {node: index for index, node in enumerate(network.graph.nodes)}
    found: list[tuple[fx.Node, Span | Obstacle]] = []
    units = _layers(network)
    for span in [*units.values(), *_bottlenecks(network, units)]:
        found.append((span.last, span))
    found.extend(_blocks(network))
    found.sort(key=lambda pair: order[pair[0]])
    return [span for _, span in found]


def is_activation(network: Network, node: fx.Node) -> bool:
    return isinstance(leaf_at(network, node), ACTIVATIONS)


# --- layers and bottlenecks: chains ----------------------------------------------------------------------------------


def _layers(network: Network) -> dict[fx.Node, Span]:
    """Every layer with its tail, by the node of the layer."""
    units: dict[fx.Node, Span] = {}
    for node, leaf in network.calls():
        if isinstance(leaf, LAYERS) and len(node.all_input_nodes) == 1:
            units[node] = Span("layer", source_of(node), (node, *_tail(network, node)))
    return units


def _tail(network: Network, node: fx.Node) -> Iterator[fx.Node]:
    user = only_user(node)
    while user is not None and _rides_along(network, user) and network.shape(user) == network.shape(node):
        yield user
        user = only_user(user)


def _rides_along(network: Network, node: fx.Node) -> bool:
    leaf = leaf_at(network, node)
    if is_batch_norm(leaf):  # one that prepares the input of a plugin's own leaf belongs to that leaf
        return not isinstance(leaf_at(network, behind(network, node)), Leaf)
    if isinstance(leaf, GATES) and _multiplies(network, node):
        return False
    return isinstance(leaf, (*ACTIVATIONS, *PASSIVE))


def _multiplies(network: Network, node: fx.Node) -> bool:
    """Whether a product takes the value, resized or reshaped on the way or not."""
    user = only_user(node)
    while user is not None and len(user.all_input_nodes) == 1 and not isinstance(leaf_at(network, user), LAYERS):
        user = only_user(user)
    return user is not None and is_product(user)


def _bottlenecks(network: Network, units: dict[fx.Node, Span]) -> Iterator[Span]:
    fed_by = {unit.source: unit for unit in units.values()}
    for unit in units.values():
        if not (_pointwise(network, unit.nodes[0]) and width(network, unit.last) > width(network, unit.source)):
            continue
        chain = [unit]
        while len(chain) < _MOST_BOTTLENECK_LAYERS and only_user(chain[-1].last) is not None:
            following = fed_by.get(chain[-1].last)
            if following is None:
                break
            chain.append(following)
            if width(network, following.last) < width(network, following.source):
                yield Span("bottleneck", unit.source, tuple(node for link in chain for node in link.nodes))
                break


def _pointwise(network: Network, node: fx.Node) -> bool:
    leaf = leaf_at(network, node)
    if isinstance(leaf, nn.Linear):
        return len(network.shape(node)) > 1
    return isinstance(leaf, _ConvNd) and all(size == 1 for size in leaf.kernel_size)


# --- blocks: dominators ----------------------------------------------------------------------------------------------


def _blocks(network: Network) -> Iterator[tuple[fx.Node, Span | Obstacle]]:
    for join, source in _joins(network):
        try:
            nodes = find_span(source, join)
        except Refusal:
            yield join, Obstacle(_name(join), f"what lies between {_name(source)} and here is used elsewhere too")
            continue
        if any(isinstance(leaf_at(network, node), LAYERS) for node in nodes):
            yield join, Span("block", source, tuple(nodes))


def _joins(network: Network) -> Iterator[tuple[fx.Node, fx.Node]]:
    """Every node that takes several values, with its immediate dominator, in graph order; where inputs meet is none."""
    parent: dict[fx.Node, fx.Node | None] = {}
    depth: dict[fx.Node, int] = {}
    for node in network.graph.nodes:
        sources = [
            source for source in node.all_input_nodes if source in depth and source.meta.get("shape") is not None
        ]
        if node.op == "placeholder":
            parent[node], depth[node] = None, 0
        elif node.op == "output" or not sources:
            continue
        else:
            meeting: fx.Node | None = sources[0]
            for source in sources[1:]:
                meeting = _common(meeting, source, parent, depth)
            parent[node], depth[node] = meeting, 0 if meeting is None else depth[meeting] + 1
            if len(sources) > 1 and meeting is not None:
                yield node, meeting


def _common(
    left: fx.Node | None, right: fx.Node | None, parent: dict[fx.Node, fx.Node | None], depth: dict[fx.Node, int]
) -> fx.Node | None:
    while left is not right:
        if left is None or right is None:
            return None
        if depth[left] >= depth[right]:
            left = parent[left]
        else:
            right = parent[right]
    return left


def _name(node: fx.Node) -> str:
    return str(node.target) if node.op == "call_module" else node.name


def is_product(node: fx.Node) -> bool:
    """Whether the node multiplies."""
    return node.op in ("call_function", "call_method") and operation(node) in ("mul", "imul", "__imul__", "multiply")


def is_sum(network: Network, node: fx.Node) -> bool:
    """Whether the node adds two values."""
    return node.op in ("call_function", "call_method") and operation(node) in ("add", "iadd", "__iadd__")
