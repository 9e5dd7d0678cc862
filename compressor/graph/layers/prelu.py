"""PReLU: max(x, 0) + slope · min(x, 0), with one slope, or one for each channel."""

from __future__ import annotations

import operator

import torch
from torch import Tensor, fx, nn

from compressor.graph.flow.flow import Flow
from compressor.graph.flow.treatments import Treatment, always, channelwise
from compressor.graph.layers.channels import pick
from compressor.graph.layers.kind import LayerKind
from compressor.graph.layers.windows import expect
from compressor.graph.leaf import OnnxValue, Shape
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_out.builder import GraphBuilder, Operand
from compressor.graph.traced.call import Call
from compressor.graph.traced.layer import Layer, trained, weight_sizes, with_tensors


def _captured(call: Call) -> Layer | None:
    if not trained(call, "weight"):
        return None
    return with_tensors(call, lambda: nn.PReLU(weight_sizes(call)[0]), "weight")


def _shape(layer: nn.PReLU, shape: Shape) -> Shape:
    expect(layer.num_parameters in (1, shape[0]), layer, shape)
    return shape


def _slopes(flow: Flow, node: fx.Node, layer: nn.PReLU, x: Tensor) -> Tensor:
    return channelwise(flow, node, layer, x) if layer.num_parameters > 1 else x


def _keep(layer: nn.PReLU, index: Tensor) -> None:
    if layer.num_parameters > 1:
        pick(layer, ("weight",), index)
        layer.num_parameters = len(index)


def _emit(b: GraphBuilder, layer: nn.PReLU, x: Operand) -> OnnxValue:
    slope = layer.weight if layer.num_parameters == 1 else layer.weight.view(-1, *[1] * (len(x.sample) - 1))
    return b.op("PRelu", [x.value, b.weight(slope)])


def _read(node: Node) -> fx.Node:
    """One slope, or one per channel, is a layer; slopes, which align from the last axis, are arithmetic elsewhere."""
    slope, sample = node.constant(1), node.sample()
    aligned = (*[1] * (len(sample) - slope.dim()), *slope.shape)
    if slope.dim() > len(sample) and slope.shape[0] == 1:
        aligned = tuple(slope.shape[1:])
    if slope.numel() == 1 or aligned == (sample[0], *[1] * (len(sample) - 1)):
        return node.leaf(nn.PReLU(slope.numel()), node.tensor(), weight=1)
    below = node.apply(torch.clamp, node.tensor(), None, 0.0)
    bent = node.apply(operator.mul, below, node.state.operand(node.inputs[1]))
    return node.apply(operator.add, node.leaf(nn.ReLU(), node.tensor()), bent)


KINDS = (
    LayerKind(
        (nn.PReLU,),
        captured={"aten.prelu": _captured},
        shape=_shape,
        macs=None,
        treatment=Treatment("bends every channel alone", _slopes, is_channelwise=always),
        emit=_emit,
        read={"PRelu": _read},
        tensors=("weight",),
        keep_outputs=_keep,
    ),
)
