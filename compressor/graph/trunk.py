"""The trunk of a network: the values that every path from the input to the output passes."""

from __future__ import annotations

from collections.abc import Iterator

from torch import fx

from compressor.graph.network import Network
from compressor.graph.shape_rules.functions import operation
from compressor.graph.span import SIZE_READERS


def trunk(network: Network) -> Iterator[fx.Node]:
    """The nodes behind the input that nothing goes around, in graph order. One pass."""
    order = {node: index for index, node in enumerate(network.graph.nodes)}
    reach = 0  # the last node that uses a value seen so far
    for node in network.graph.nodes:
        if node.op == "output" or node.meta.get("shape") is None:
            continue
        if node.op != "placeholder" and reach <= order[node]:
            yield node
        reach = max([reach, *(order[user] for user in node.users if not _reads_a_size(user))])


def _reads_a_size(node: fx.Node) -> bool:
    return node.op in ("call_function", "call_method") and operation(node) in SIZE_READERS
