"""What layers do to the channels that pass them, by class of layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from compressor.graph.coupling.kinds import (
    SPATIAL,
    is_channelwise,
    is_depthwise,
    why_no_inputs,
    why_no_outputs,
)
from compressor.graph.coupling.moves import flatten_channels, shuffled, unflattened, unshuffled, without_channel_order
from compressor.graph.flow.flow import NEIGHBOURS, Flow
from compressor.graph.flow.values import TRACE_BATCH, along, has_one_entry, slices
from compressor.graph.leaf import Leaf
from compressor.graph.network import Network
from compressor.graph.shape_rules.layers import ELEMENTWISE

Rule = Callable[[Flow, fx.Node, Any, Tensor], Any]


def call(flow: Flow, node: fx.Node) -> Any:
    """The value of a call of a layer."""
    args, kwargs = flow.arguments(node)
    leaf = flow.leaf(node)
    rule = _rule(leaf)
    if rule is None or kwargs or len(args) != 1 or not isinstance(args[0], Tensor) or node.meta.get("shape") is None:
        path = str(node.target)
        flow.block(path, why_no_inputs(leaf) or "takes several values")
        return flow.opaque(node, [*args, kwargs], f"reach {path}: {why_no_inputs(leaf) or 'takes several values'}")
    return rule(flow, node, leaf, args[0])


def _rule(leaf: nn.Module) -> Rule | None:
    if isinstance(leaf, Leaf):
        return _channelwise if is_channelwise(leaf) else _own
    maker = next(kind for kind in type(leaf).__mro__ if "forward" in vars(kind))
    if not maker.__module__.startswith("torch.nn."):
        return None  # a class of the user's own that computes something else
    return next((rule for kinds, rule in RULES if isinstance(leaf, kinds)), None)


def _same(flow: Flow, node: fx.Node, leaf: Any, x: Tensor) -> Tensor:
    return x


def spatial(flow: Flow, node: fx.Node, leaf: Any, x: Tensor) -> Tensor:
    """Something is done to every channel's image alone: pooling, padding, resizing."""
    x = flow.mix(x, range(2, x.dim()), node, f"{node.name} {NEIGHBOURS}")
    return x[(slice(None), slice(None), *[slice(1)] * (x.dim() - 2))].expand(TRACE_BATCH, -1, *Network.shape(node)[1:])


def _along(flow: Flow, node: fx.Node, x: Tensor, dim: int) -> Tensor | None:
    """The identities along ``dim``, (size,), which nothing else may tell apart; None where they vary elsewhere only."""
    dim %= x.dim()
    varying = flow.varying(x)
    if varying and dim not in varying:
        return None
    others = [other for other in range(x.dim()) if other != dim]
    return slices(flow.mix(x, others, node, f"{node.target} {NEIGHBOURS}"), dim)


def _channelwise(flow: Flow, node: fx.Node, leaf: Any, x: Tensor) -> Tensor:
    """Every channel is treated alone."""
    path, dim = str(node.target), channel_dim(leaf)
    flow.block(path, "makes no channels of its own: name the layer that does")
    vector = _along(flow, node, x, dim)
    if vector is None:
        return x
    flow.take(path, vector, both=True)
    return (
        x
        if all(has_one_entry(x, other) for other in range(x.dim()) if other != dim % x.dim())
        else along(vector, dim, x.shape)
    )


def _slopes(flow: Flow, node: fx.Node, leaf: nn.PReLU, x: Tensor) -> Tensor:
    return _channelwise(flow, node, leaf, x) if leaf.num_parameters > 1 else x


def _groups_of_channels(flow: Flow, node: fx.Node, leaf: nn.GroupNorm, x: Tensor) -> Tensor:
    path = str(node.target)
    flow.block(path, "makes no channels of its own: name the layer that does")
    x = flow.mix(x, range(2, x.dim()), node, f"{node.target} {NEIGHBOURS}")
    vector, size = slices(x, 1), leaf.num_channels // leaf.num_groups
    flow.mix(vector.view(-1, size), [1], node, f"{path} normalises {size} channels together")
    flow.take(path, vector, both=True)
    return along(vector, 1, x.shape)


def _rows(flow: Flow, node: fx.Node, leaf: nn.LayerNorm, x: Tensor) -> Tensor:
    path = str(node.target)
    flow.block(path, "makes no channels of its own: name the layer that does")
    flow.mix(x, range(-len(leaf.normalized_shape), 0), node, f"{path} normalises all channels together")
    return x


def _neighbours(flow: Flow, node: fx.Node, leaf: nn.Module, x: Tensor) -> Tensor:
    flow.mix(x, [1], node, f"{node.target} weighs neighbouring channels against each other")
    return x


def _softmax(flow: Flow, node: fx.Node, leaf: Any, x: Tensor) -> Any:
    dim = getattr(leaf, "dim", 1)
    if dim is None:
        dim = 0 if x.dim() in (1, 4) else 1
    flow.mix(x, [dim], node, f"{node.target} weighs channels against each other")
    return x


def _convolution(flow: Flow, node: fx.Node, leaf: _ConvNd, x: Tensor) -> Tensor:
    path, groups = str(node.target), leaf.groups
    x = flow.mix(x, range(2, x.dim()), node, f"{path} {NEIGHBOURS}")
    taken = slices(x, 1)
    if is_depthwise(leaf):
        flow.block(path, "makes no channels of its own: name the layer that does")
        flow.take(path, taken, both=True)
        return along(taken, 1, (TRACE_BATCH, *Network.shape(node)))
    flow.take(path, taken)
    made = flow.make(path, leaf.out_channels)
    reason = f"{path} has {groups} groups"
    if groups == leaf.in_channels > 1:  # one input for several outputs: whole groups can go
        made_rows = made.view(len(taken), -1)
        flow.unite(made_rows, taken[:, None].expand_as(made_rows), node, reason)
    elif groups > 1:  # the groups must stay equally large: the k-th of each goes together
        flow.mix(taken.view(groups, -1), [0], node, f"{reason}, which must stay equally large")
        flow.mix(made.view(groups, -1), [0], node, f"{reason}, which must stay equally large")
    return along(made, 1, (TRACE_BATCH, *Network.shape(node)))


def _linear(flow: Flow, node: fx.Node, leaf: nn.Linear, x: Tensor) -> Any:
    return _dense(flow, node, x, -1, leaf.out_features)


def _own(flow: Flow, node: fx.Node, leaf: Leaf, x: Tensor) -> Any:
    """A plugin's layer, which says itself what it can lose."""
    dim = channel_dim(leaf)
    return _dense(flow, node, x, dim, (TRACE_BATCH, *Network.shape(node))[dim])


def _dense(flow: Flow, node: fx.Node, x: Tensor, dim: int, count: int) -> Any:
    """Every output channel is made of all input channels, which lie along ``dim``."""
    path, leaf = str(node.target), flow.leaf(node)
    shape = (TRACE_BATCH, *Network.shape(node))
    vector = _along(flow, node, x, dim)
    if vector is None:
        flow.block(path, reason := "is applied along another dimension than the channels")
        if isinstance(leaf, nn.Linear):
            return x.narrow(-1, 0, 1).expand(*x.shape[:-1], leaf.out_features)
        return flow.opaque(node, x, f"reach {path}, which {reason}")
    if (reason := why_no_inputs(leaf) or "") != "":
        flow.pin(vector, f"its channels reach {path}: {reason}")
    flow.take(path, vector)
    made_not = why_no_outputs(leaf)
    if made_not is None:
        return along(flow.make(path, count), dim, shape)
    flow.block(path, made_not)
    return flow.fixed_value(node, f"its channels are tied to those of {path}: {made_not}")


def channel_dim(leaf: nn.Module) -> int:
    """Along which dimension of its input and output a layer counts channels."""
    return -1 if isinstance(leaf, nn.Linear) else int(getattr(leaf, "channel_dim", 1))


RULES: tuple[tuple[Any, Rule], ...] = (
    (ELEMENTWISE, _same),
    (SPATIAL, spatial),
    ((_BatchNorm, _InstanceNorm), _channelwise),
    (nn.PReLU, _slopes),
    (nn.GroupNorm, _groups_of_channels),
    ((nn.LayerNorm, nn.RMSNorm), _rows),
    ((nn.LocalResponseNorm, nn.CrossMapLRN2d), _neighbours),
    ((nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d), _softmax),
    (nn.Flatten, flatten_channels),
    (nn.Unflatten, unflattened),
    (nn.PixelShuffle, shuffled),
    (nn.PixelUnshuffle, unshuffled),
    (nn.ChannelShuffle, without_channel_order),
    (_ConvNd, _convolution),
    (nn.Linear, _linear),
)
"""Classes of layers and what they do, the first that fits."""
