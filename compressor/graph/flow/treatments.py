"""What a layer may do to the channels that pass it: the ways that several kinds of layers share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor, fx

from compressor.graph.flow.flow import NEIGHBOURS, Flow
from compressor.graph.flow.values import TRACE_BATCH, along, has_one_entry, slices
from compressor.graph.network import Network

LayerFlow = Callable[[Flow, fx.Node, Any, Tensor], Any]
"""``rule(flow, node, layer, x)``: the identities of what the layer makes of ``x``."""
NO_PRODUCER: Final = "makes no channels of its own: name the layer that does"
ANOTHER_DIMENSION: Final = "is applied along another dimension than the channels"


def _never(layer: Any) -> bool:
    return False


def always(layer: Any) -> bool:
    return True


@dataclass(frozen=True)
class Treatment:
    """What a kind of layer does to channels."""

    words: str
    """For people: "treats every value alone"."""
    rule: LayerFlow
    is_channelwise: Callable[[Any], bool] = _never
    """Whether output channel i comes from input channel i alone and is lost together with it."""
    is_producer: bool = False
    """Whether it makes output channels of its own, of all inputs, where ``is_channelwise`` does not hold."""
    is_transparent: bool = False
    """Whether it has no parameters, and every channel stays where it is."""
    channel_dim: int = 1
    """Dimension of a batch in which inputs and outputs count their channels."""


# --- rules -----------------------------------------------------------------------------------------------------------


def same(flow: Flow, node: fx.Node, layer: Any, x: Tensor) -> Tensor:
    """Every value is treated alone."""
    return x


def spatial(flow: Flow, node: fx.Node, layer: Any, x: Tensor) -> Tensor:
    """Something is done to every channel's image alone: pooling, padding, resizing."""
    x = flow.mix(x, range(2, x.dim()), node, f"{node.name} {NEIGHBOURS}")
    return x[(slice(None), slice(None), *[slice(1)] * (x.dim() - 2))].expand(TRACE_BATCH, -1, *Network.shape(node)[1:])


def channelwise(flow: Flow, node: fx.Node, layer: Any, x: Tensor, dim: int = 1) -> Tensor:
    """Every channel, counted along ``dim``, is treated alone, with parameters of its own."""
    path = str(node.target)
    flow.block(path, NO_PRODUCER)
    vector = vector_along(flow, node, x, dim)
    if vector is None:
        return x
    flow.take(path, vector, both=True)
    return (
        x
        if all(has_one_entry(x, other) for other in range(x.dim()) if other != dim % x.dim())
        else along(vector, dim, x.shape)
    )


def vector_along(flow: Flow, node: fx.Node, x: Tensor, dim: int) -> Tensor | None:
    """The identities along ``dim``, (size,), which nothing else may tell apart; None where they vary elsewhere only."""
    dim %= x.dim()
    varying = flow.varying(x)
    if varying and dim not in varying:
        return None
    others = [other for other in range(x.dim()) if other != dim]
    return slices(flow.mix(x, others, node, f"{node.target} {NEIGHBOURS}"), dim)


ELEMENTWISE: Final = Treatment("treats every value alone", same, is_transparent=True)
SPATIAL: Final = Treatment("treats the image of every channel alone", spatial, is_transparent=True)
CHANNELWISE: Final = Treatment(
    "treats every channel alone, with parameters of its own", channelwise, is_channelwise=always
)
