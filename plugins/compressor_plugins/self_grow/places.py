"""Where a network can grow: behind a value that every path passes, and between a layer and its only taker.

    depth    a feature map on the trunk, after the layer, normalisation and activation (or the sum) that made it
    width    a convolution or linear layer whose channels reach one other such layer, past what treats each alone

Both follow from the structure alone, never from weights: growing is repeated when a trained network is rebuilt, and
must then find the same places.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from compressor.errors import Refusal
from compressor.graph.channels import plan_duplicate
from compressor.graph.coupling.groups import coupled_positions
from compressor.graph.coupling.guard import check_free
from compressor.graph.coupling.kinds import is_channelwise, is_transparent
from compressor.graph.leaf import Leaf
from compressor.graph.network import Network
from compressor.graph.shape_rules.functions import operation
from compressor.graph.span import SIZE_READERS
from compressor.graph.trunk import trunk
from compressor_plugins.common.layout import channels_last
from compressor_plugins.common.neighbours import PASSIVE, leaf_at, only_user
from compressor_plugins.common.spans import ACTIVATIONS, LAYERS

JOINS = ("add", "iadd", "__iadd__", "cat", "concat", "concatenate")
WIDE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""Layers that can gain outputs, and inputs: exactly these classes."""
MULTIPLE, FEW = 16, 4
"""Channel counts that run well are multiples of 16; below 16, of 4."""


@dataclass(frozen=True)
class DepthPlace:
    """A feature map ``(C, …)`` of a line, an image or a volume to grow behind; with channels ``last`` ``(…, C)``."""

    name: str
    node: fx.Node
    last: bool = False

    @property
    def channels(self) -> int:
        return Network.shape(self.node)[-1 if self.last else 0]

    @property
    def axes(self) -> int:
        """Dimensions of the image."""
        return len(Network.shape(self.node)) - 1

    @property
    def kernel(self) -> int:
        """Side of the kernels that make sense on the map."""
        return 3 if min(Network.shape(self.node)[1:]) > 1 else 1


@dataclass(frozen=True)
class WidthPlace:
    """``layer`` makes channels that pass ``between`` (in order) and end in ``taker``; all are nodes."""

    name: str
    layer: fx.Node
    between: tuple[fx.Node, ...]
    taker: fx.Node
    channels: int
    run: int
    """Inputs of the taker that one channel fills: more than one behind a flattening."""


def depth_places(network: Network) -> Iterator[DepthPlace]:
    """Feature maps on the trunk, each at the end of what made it."""
    calls = Counter(str(node.target) for node in network.graph.nodes if node.op == "call_module")
    for node in trunk(network):
        if len(network.shape(node)) in (2, 3, 4) and _ends_a_unit(network, node):
            alone = node.op == "call_module" and calls[str(node.target)] == 1
            yield DepthPlace(str(node.target) if alone else node.name, node, channels_last(network, node))


def width_layers(network: Network) -> list[str]:
    """Paths of the layers that ``width_place`` can be asked about, in the order of their first calls."""
    return list(
        dict.fromkeys(str(node.target) for node, leaf in network.calls() if isinstance(leaf, _ConvNd | nn.Linear))
    )


def width_place(network: Network, path: str) -> WidthPlace:
    """Where the layer at ``path`` can be wider, from that layer on. Raises ``Refusal`` where it cannot."""
    leaf = network.leaf(path)
    if type(leaf) not in WIDE:
        raise Refusal(f"is a {type(leaf).__name__}, whose new outputs would be another kind's")
    place = _reached(network, path)
    owners = Counter(id(parameter) for _, leaf in network.leaves() for parameter in leaf.parameters())
    if any(owners[id(p)] > 1 for where in (place.layer, place.taker) for p in _parameters(network, where)):
        raise Refusal("shares its weight, or its taker does")
    _check_copies(network, place)
    return place


def rounded(width: float) -> int:
    """The next channel count that runs well."""
    multiple = MULTIPLE if width >= MULTIPLE else FEW
    return max(math.ceil(width / multiple) * multiple, 1)


def _ends_a_unit(network: Network, node: fx.Node) -> bool:
    leaf = leaf_at(network, node)
    made = isinstance(leaf, (*LAYERS, *ACTIVATIONS, _BatchNorm)) or (leaf is None and operation(node) in JOINS)
    user = only_user(node)
    follows = isinstance(leaf_at(network, user), (*ACTIVATIONS, *PASSIVE, _BatchNorm)) and not isinstance(
        leaf_at(network, user), nn.Flatten
    )
    return made and not follows and not _belongs_to_leaf(network, user)


def _belongs_to_leaf(network: Network, user: fx.Node | None) -> bool:
    """Whether the only user is a plugin's own layer, which may expect its input as it is."""
    return isinstance(leaf_at(network, user), Leaf)


def _reached(network: Network, path: str) -> WidthPlace:
    """The only layer that takes what the layer at ``path`` makes, and all that lies between them."""
    node, *again = network.calls_of(path)
    if again:
        raise Refusal("is called more than once")
    leaf = network.leaf(path)
    if isinstance(leaf, _ConvNd) and leaf.groups != 1:
        raise Refusal("makes its channels in groups")
    check_free(network, path)
    between: list[fx.Node] = []
    user = only_user(node)
    while user is not None and not _takes_all(network, user):
        if not _each_alone(network, user):
            raise Refusal(f"its channels reach {_called(user)}, and could not widen alone")
        between.append(user)
        user = only_user(user)
    if user is None:
        raise Refusal("its channels are used in several places, and could not widen alone")
    if len(network.calls_of(str(user.target))) > 1:
        raise Refusal(f"its channels reach {user.target}, which is called more than once")
    channels, taken = leaf.get_parameter("weight").shape[0], network.leaf(str(user.target)).get_parameter("weight")
    return WidthPlace(path, node, tuple(between), user, channels, taken.shape[1] // channels)


def _check_copies(network: Network, place: WidthPlace) -> None:
    """Raises ``Refusal`` unless any channel can be copied alone, each filling one run of the taker's inputs."""
    plan = plan_duplicate(network, place.name, [0]) if place.channels > 1 else None
    if plan is not None and (plan.calls or plan.constants):
        raise Refusal("its channels pass something that has their number written into it")
    arriving = coupled_positions(network, place.name, range(place.channels)).inputs[str(place.taker.target)]
    if list(arriving.values()) != [channel for channel in range(place.channels) for _ in range(place.run)]:
        raise Refusal(f"its channels reach {place.taker.target} several times, or in another order")


def _takes_all(network: Network, node: fx.Node) -> bool:
    leaf = leaf_at(network, node)
    return type(leaf) in WIDE and (not isinstance(leaf, _ConvNd) or leaf.groups == 1)


def _each_alone(network: Network, node: fx.Node) -> bool:
    leaf = leaf_at(network, node)
    if leaf is None:
        return len(node.all_input_nodes) == 1 and operation(node) not in SIZE_READERS
    return not isinstance(leaf, Leaf) and (is_channelwise(leaf) or is_transparent(leaf) or isinstance(leaf, nn.Flatten))


def _parameters(network: Network, node: fx.Node) -> Iterator[nn.Parameter]:
    return network.leaf(str(node.target)).parameters()


def _called(node: fx.Node) -> str:
    return str(node.target) if node.op == "call_module" else node.name
