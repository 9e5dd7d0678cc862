"""What a call of a layer does to the channels that pass it: its kind says, or a plugin's layer itself."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx

from compressor.graph.coupling.kinds import channel_dim, is_channelwise, treatment_of, why_no_inputs, why_no_outputs
from compressor.graph.flow.flow import Flow
from compressor.graph.flow.treatments import ANOTHER_DIMENSION, channelwise, vector_along
from compressor.graph.flow.values import TRACE_BATCH, along
from compressor.graph.leaf import Leaf
from compressor.graph.network import Network


def call(flow: Flow, node: fx.Node) -> Any:
    """The value of a call of a layer."""
    args, kwargs = flow.arguments(node)
    leaf = flow.leaf(node)
    treatment = treatment_of(leaf)
    known = isinstance(leaf, Leaf) or treatment is not None
    if not known or kwargs or len(args) != 1 or not isinstance(args[0], Tensor) or node.meta.get("shape") is None:
        path = str(node.target)
        flow.block(path, why_no_inputs(leaf) or "takes several values")
        return flow.opaque(node, [*args, kwargs], f"reach {path}: {why_no_inputs(leaf) or 'takes several values'}")
    if isinstance(leaf, Leaf):
        return _own(flow, node, leaf, args[0])
    return None if treatment is None else treatment.rule(flow, node, leaf, args[0])


def _own(flow: Flow, node: fx.Node, leaf: Leaf, x: Tensor) -> Any:
    """A plugin's layer, which says itself what it can lose."""
    if is_channelwise(leaf):
        return channelwise(flow, node, leaf, x, channel_dim(leaf))
    path, dim = str(node.target), channel_dim(leaf)
    shape = (TRACE_BATCH, *Network.shape(node))
    vector = vector_along(flow, node, x, dim)
    if vector is None:
        flow.block(path, ANOTHER_DIMENSION)
        return flow.opaque(node, x, f"reach {path}, which {ANOTHER_DIMENSION}")
    if (reason := why_no_inputs(leaf) or "") != "":
        flow.pin(vector, f"its channels reach {path}: {reason}")
    flow.take(path, vector)
    made_not = why_no_outputs(leaf)
    if made_not is None:
        return along(flow.make(path, shape[dim]), dim, shape)
    flow.block(path, made_not)
    return flow.fixed_value(node, f"its channels are tied to those of {path}: {made_not}")
