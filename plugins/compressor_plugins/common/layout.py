"""Where the channels of a value are: first, as torch has them, or last, as behind a linear layer over pixels.

The answer is that of a layer which takes the value or has made it, carried through the permutations since.
"""

from __future__ import annotations

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from compressor.graph.leaf import Leaf
from compressor.graph.network import Network
from compressor.graph.shape_rules.functions import argument, operation
from compressor_plugins.common.neighbours import leaf_at


def channel_dim(network: Network, node: fx.Node) -> int:
    """The dimension of a sample of the value, 0 to its rank less 1, that counts channels."""
    moves: list[list[int]] = []
    while (own := _own(network, node)) is None:
        order = _order(node, len(network.shape(node)))
        if order is not None:
            moves.append(order)
        source = _source(network, node)
        if source is None:
            own = 0
            break
        node = source
    for order in reversed(moves):
        own = order.index(own)
    return own


def channels_last(network: Network, node: fx.Node) -> bool:
    """Whether a sample has more than one dimension and its channels are the last."""
    rank = len(network.shape(node))
    return rank > 1 and channel_dim(network, node) == rank - 1


def width(network: Network, node: fx.Node) -> int:
    """How many channels the value has."""
    return network.shape(node)[channel_dim(network, node)]


def size(network: Network, node: fx.Node) -> tuple[int, ...]:
    """The sample's shape without its channels."""
    shape, dim = network.shape(node), channel_dim(network, node)
    return (*shape[:dim], *shape[dim + 1 :])


def meets(network: Network, source: fx.Node, last: fx.Node) -> bool:
    """Whether one value has the size of another, or pooling, which needs the channels first, brings it there."""
    given, wanted = size(network, source), size(network, last)
    dims = {channel_dim(network, source), channel_dim(network, last)}
    if len(given) != len(wanted) or len(dims) > 1 or not dims <= {0, len(given)}:
        return False
    if channels_last(network, source):
        return given == wanted
    return all(have >= want for have, want in zip(given, wanted, strict=True))


def _own(network: Network, node: fx.Node) -> int | None:
    """The dimension that the node itself or a layer that takes it settles; None where it keeps what it is given."""
    rank = len(network.shape(node))
    if rank <= 1:
        return 0
    for each in (node, *node.users):
        leaf = leaf_at(network, each)
        if len(each.meta.get("shape") or ()) != rank:
            continue
        if isinstance(leaf, _ConvNd | _BatchNorm | nn.GroupNorm):
            return 0
        if isinstance(leaf, nn.Linear | nn.LayerNorm | nn.RMSNorm):
            return rank - 1
        if isinstance(leaf, Leaf):
            return leaf.channel_dim % (rank + 1) - 1
    return None


def _order(node: fx.Node, rank: int) -> list[int] | None:
    """Which dimension of a sample each one comes from; None where the node moves none, or the batch."""
    kind = operation(node) if node.op in ("call_function", "call_method") else ""
    order = list(range(rank + 1))
    if kind == "permute":
        order = [dim % (rank + 1) for dim in argument(node, 1, "dims", order)]
    elif kind == "transpose":
        first, second = (argument(node, place, f"dim{place - 1}", 0) % (rank + 1) for place in (1, 2))
        order[first], order[second] = second, first
    return [dim - 1 for dim in order[1:]] if order[0] == 0 else None


def _source(network: Network, node: fx.Node) -> fx.Node | None:
    """The value of the same rank that the node is made of, past what gives several; None where there is none."""
    rank = len(network.shape(node))
    inputs = [before for source in node.all_input_nodes for before in _single(source)]
    shaped = [source for source in inputs if len(source.meta.get("shape") or ()) == rank]
    sources = [source for source in shaped if source.meta["shape"] == node.meta["shape"]] or shaped
    return sources[0] if sources else None


def _single(node: fx.Node) -> list[fx.Node]:
    """The node, or where its value is several tensors what those are parts of."""
    return [node] if node.meta.get("shape") is not None else node.all_input_nodes
