"""Which values a network holds to steps, and the regions between them that compute in integers.

    a call computes in integers    it has an integer form, and every tensor it takes is held to steps
    a region                       such calls that hand held values to one another

A value enters a region where it is held to steps and comes from float arithmetic; it leaves where anything else reads
what a call of the region makes. Each way costs a pass over the value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import fx, nn

from compressor.graph.layers.kind import Integers
from compressor.graph.layers.table import kind_of
from compressor.graph.leaf import Leaf
from compressor.graph.network import Network
from compressor.graph.shape_rules.functions import operation

MOVING_FUNCTIONS = frozenset(
    {"reshape", "view", "flatten", "permute", "transpose", "unsqueeze", "squeeze", "slice", "select", "narrow"}
)
JOINING_FUNCTIONS = frozenset({"cat", "concat", "concatenate"})
COMPUTING_FUNCTIONS = frozenset({"add", "mul", "iadd", "imul"}) | JOINING_FUNCTIONS
"""Together with the layers that say so: what ONNX Runtime computes in integers."""
_FAKE = torch.ops.aten.fake_quantize_per_tensor_affine.default


@dataclass(frozen=True)
class Place:
    """Where a call lies: the bits of the values it takes, its region (from 1), and whether values enter or leave."""

    bits: int
    region: int
    enters: bool
    leaves: bool


def integers_of(leaf: nn.Module) -> Integers | None:
    """How one of torch's own layers passes values that are held to steps."""
    kind = kind_of(leaf)
    return None if kind is None else kind.integers


def held_bits(network: Network, node: fx.Node) -> int:
    """To how many bits the value of a node is held; 0 where it is not."""
    if node.op == "call_module":
        leaf = network.leaf(str(node.target))
        return leaf.held_bits if isinstance(leaf, Leaf) else 0
    if node.op == "call_function" and node.target is _FAKE:
        low, high = node.args[3], node.args[4]
        return math.ceil(math.log2(high - low + 1)) if isinstance(low, int) and isinstance(high, int) else 0
    return 0


def integer_places(network: Network) -> dict[fx.Node, Place]:
    """The calls that compute in integers, in execution order."""
    inside: dict[fx.Node, int] = {}
    for node in network.graph.nodes:
        if _has_integer_form(network, node):
            bits = [held_bits(network, source) for source in node.all_input_nodes]
            if bits and all(bits):
                inside[node] = max(bits)
    origins = {node: _origins(network, node) for node in inside}
    regions: dict[fx.Node, set[fx.Node]] = {node: {node} for node in inside}
    for node, before in origins.items():
        for other in before & inside.keys():
            joined = regions[node] | regions[other]
            for member in joined:
                regions[member] = joined
    numbers: dict[int, int] = {}
    return {
        node: Place(
            bits,
            numbers.setdefault(id(regions[node]), len(numbers) + 1),
            bool(origins[node] - inside.keys()),
            _leaves(network, node, inside),
        )
        for node, bits in inside.items()
    }


def _has_integer_form(network: Network, node: fx.Node) -> bool:
    if node.op == "call_function":
        return operation(node) in MOVING_FUNCTIONS | COMPUTING_FUNCTIONS
    leaf = network.leaf(str(node.target)) if node.op == "call_module" else None
    if isinstance(leaf, Leaf):
        return not leaf.held_bits
    return leaf is not None and integers_of(leaf) is not None


def _origins(network: Network, node: fx.Node) -> set[fx.Node]:
    """What computed the held values that a call takes."""
    found = set()
    for source in node.all_input_nodes:
        while held_bits(network, source) or _clips(network, source):
            source = source.all_input_nodes[0]
        found.add(source)
    return found


def _leaves(network: Network, node: fx.Node, inside: Mapping[fx.Node, int]) -> bool:
    """Whether anything but the calls inside reads a value, past what clips it and holds it to steps."""
    return any(
        _leaves(network, user, inside) if held_bits(network, user) or _clips(network, user) else user not in inside
        for user in node.users
    )


def _clips(network: Network, node: fx.Node) -> bool:
    """Whether a call vanishes between another one and the steps that hold what that makes."""
    kind = kind_of(network.leaf(str(node.target))) if node.op == "call_module" else None
    return kind is not None and kind.clips


def regions_of(network: Network) -> Iterator[tuple[str, Place]]:
    """The same by the path of the leaf that is called, or the name of the function's node."""
    for node, place in integer_places(network).items():
        yield (str(node.target) if node.op == "call_module" else node.name), place
