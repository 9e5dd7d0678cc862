"""Spans: all that lies between two nodes. A span can be cut out when it has one entry and one exit.

source ──► [ inside … last ] ──► users        source dominates last; nobody outside uses the inside
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx

from compressor.errors import Refusal
from compressor.graph.cost import cost_of
from compressor.graph.leaf import Cost
from compressor.graph.network import Network
from compressor.graph.shape_rules.functions import operation
from compressor.graph.shapes import input_shapes

SIZE_READERS = frozenset({"size", "shape", "dim", "sym_size", "getattr"})
"""Operations that read a size, not the data: what they look at is no entry of a span."""


def find_span(source: fx.Node, last: fx.Node) -> list[fx.Node]:
    """The nodes between ``source`` (exclusive) and ``last`` (inclusive), in graph order.

    Raises ``Refusal`` when ``last`` gets data past ``source``, or when something outside uses the inside.
    """
    if source is last:
        raise Refusal("the span is empty: it starts where it ends", path=last.name)
    inside = {last}
    waiting = [last]
    reached = False
    while waiting:
        for node in waiting.pop().all_input_nodes:
            if node is source:
                reached = True
            elif node.op == "placeholder":
                raise Refusal(f"gets data past {source.name}, straight from the input", path=last.name)
            elif node not in inside and node.op != "get_attr" and operation(node) not in SIZE_READERS:
                inside.add(node)
                waiting.append(node)
    if not reached:
        raise Refusal(f"does not depend on {source.name}", path=last.name)
    inside |= {user for node in inside for user in node.users if _reads_size_for(inside, user)}
    _refuse_leaks(inside, last)
    return sorted(inside)


def span_cost(network: Network, span: Sequence[fx.Node]) -> Cost:
    """What cutting a span out saves: MACs of its calls, and parameters of leaves that nothing outside calls."""
    total = Cost()
    seen: set[str] = set()
    for node in span:
        if node.op != "call_module":
            continue
        path = str(node.target)
        cost = cost_of(network.leaf(path), *input_shapes(node))
        vanishes = path not in seen and all(call in span for call in network.calls_of(path))
        seen.add(path)
        total += cost if vanishes else Cost(macs=cost.macs)
    return total


def _reads_size_for(inside: set[fx.Node], node: fx.Node) -> bool:
    return node not in inside and operation(node) in SIZE_READERS and inside.issuperset(node.users)


def _refuse_leaks(inside: set[fx.Node], last: fx.Node) -> None:
    for node in sorted(inside - {last}):
        for user in node.users:
            if user not in inside:
                raise Refusal(f"{user.name} outside the span uses {node.name} inside it", path=last.name)
