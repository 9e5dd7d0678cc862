"""Normalisation by what each sample holds itself: of a channel, of groups of channels, of whole rows."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, fx, nn

from compressor.errors import CaptureError
from compressor.graph.flow.flow import NEIGHBOURS, Flow
from compressor.graph.flow.treatments import CHANNELWISE, NO_PRODUCER, Treatment
from compressor.graph.flow.values import along, slices
from compressor.graph.layers import batch_norm
from compressor.graph.layers.channels import pick
from compressor.graph.layers.kind import LayerKind
from compressor.graph.layers.windows import expect
from compressor.graph.leaf import OnnxValue, Shape
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_out.builder import GraphBuilder, Operand
from compressor.graph.traced.call import Call
from compressor.graph.traced.layer import Layer, trained, with_tensors

_AFFINE: Final = ("weight", "bias")
_BY_SAMPLE: Final = {2: nn.InstanceNorm1d, 3: nn.InstanceNorm2d, 4: nn.InstanceNorm3d}
"""Classes by the rank of a sample."""

# --- of each channel -------------------------------------------------------------------------------------------------


def _captured_instance(call: Call) -> Layer | None:
    affine = call.has("weight")
    tracked = call.has("running_mean")
    if call.rank - 1 not in _BY_SAMPLE or call.has("bias") != affine:
        return None
    if tracked and call.get("use_input_stats") and not call.program.in_training:
        raise CaptureError("an instance normalisation updates its statistics even in eval mode")
    if affine and not trained(call, *_AFFINE):
        return None
    settings: dict[str, Any] = {
        "eps": call.get("eps", 1e-5),
        "momentum": call.get("momentum"),
        "affine": affine,
        "track_running_stats": tracked,
    }
    return with_tensors(call, lambda: _BY_SAMPLE[call.rank - 1](call.sizes[1], **settings), *batch_norm.TENSORS)


def _emit_instance(b: GraphBuilder, layer: nn.InstanceNorm2d, x: Operand) -> OnnxValue:
    if layer.running_mean is not None:
        return batch_norm.emit(b, layer, x)
    scale, shift = batch_norm.scale_and_shift(layer.weight, layer.bias, x.sample[0])
    return b.op("InstanceNormalization", [x.value, b.weight(scale), b.weight(shift)], epsilon=float(layer.eps))


def _read_instance(node: Node) -> fx.Node:
    kind = _BY_SAMPLE.get(len(node.sample()))
    if kind is None:
        raise CaptureError(f"a normalisation of samples of {node.sample()}")
    layer = kind(node.constant(1).numel(), eps=node.attributes.get("epsilon", 1e-5), affine=True)
    return node.leaf(layer, node.tensor(), weight=1, bias=2)


def _read_mean_variance(node: Node) -> fx.Node:
    """Of each channel, or of each sample as one."""
    axes, rank = sorted(node.attributes.get("axes", [0, 2, 3])), len(node.sample()) + 1
    if axes == list(range(2, rank)) and rank - 1 in _BY_SAMPLE:
        return node.leaf(_BY_SAMPLE[rank - 1](node.sample()[0], eps=1e-9), node.tensor())
    if axes == list(range(1, rank)):
        return node.leaf(nn.LayerNorm(node.sample(), eps=1e-9, elementwise_affine=False), node.tensor())
    raise CaptureError(f"a normalisation along dimensions {axes}")


# --- of groups of channels -------------------------------------------------------------------------------------------


def _captured_group(call: Call) -> Layer | None:
    affine = call.has("weight")
    if call.has("bias") != affine or (affine and not trained(call, *_AFFINE)):
        return None
    settings: dict[str, Any] = {"eps": call.get("eps", 1e-5), "affine": affine}
    return with_tensors(call, lambda: nn.GroupNorm(call.get("num_groups"), call.sizes[1], **settings), *_AFFINE)


def _group_shape(layer: nn.GroupNorm, shape: Shape) -> Shape:
    expect(bool(shape) and shape[0] == layer.num_channels, layer, shape)
    return shape


def _group_flow(flow: Flow, node: fx.Node, layer: nn.GroupNorm, x: Tensor) -> Tensor:
    path = str(node.target)
    flow.block(path, NO_PRODUCER)
    x = flow.mix(x, range(2, x.dim()), node, f"{node.target} {NEIGHBOURS}")
    vector, size = slices(x, 1), layer.num_channels // layer.num_groups
    flow.mix(vector.view(-1, size), [1], node, f"{path} normalises {size} channels together")
    flow.take(path, vector, both=True)
    return along(vector, 1, x.shape)


def _keep_groups(layer: nn.GroupNorm, index: Tensor) -> None:
    size = layer.num_channels // layer.num_groups
    pick(layer, _AFFINE, index)
    layer.num_channels, layer.num_groups = len(index), len(index) // size


def _emit_group(b: GraphBuilder, layer: nn.GroupNorm, x: Operand) -> OnnxValue:
    """Each group as one instance-normalised channel; then the affine map per channel."""
    groups, shape = layer.num_groups, x.sample
    unit = b.constant(np.ones(groups, np.float32)), b.constant(np.zeros(groups, np.float32))
    value = b.op("Reshape", [x.value, b.integers([0, groups, -1])])
    value = b.reshape(b.op("InstanceNormalization", [value, *unit], epsilon=float(layer.eps)), shape)
    for op_type, parameter in (("Mul", layer.weight), ("Add", layer.bias)):
        if parameter is not None:
            value = b.op(op_type, [value, b.weight(parameter.view(-1, *[1] * (len(shape) - 1)))])
    return value


def _read_group(node: Node) -> fx.Node:
    channels, groups = node.sample()[0], node.attributes["num_groups"]
    if channels % groups or node.constant(1).numel() != channels:
        raise CaptureError(f"{channels} channels in {groups} groups, with {node.constant(1).numel()} scales")
    layer = nn.GroupNorm(groups, channels, eps=node.attributes.get("epsilon", 1e-5))
    return node.leaf(layer, node.tensor(), weight=1, bias=2)


# --- of rows ---------------------------------------------------------------------------------------------------------


def _captured_layer(call: Call) -> Layer | None:
    affine, shape = call.has("weight"), tuple(call.get("normalized_shape"))
    if affine and not trained(call, *_AFFINE):
        return None
    settings: dict[str, Any] = {"eps": call.get("eps", 1e-5), "elementwise_affine": affine, "bias": call.has("bias")}
    return with_tensors(call, lambda: nn.LayerNorm(shape, **settings), *_AFFINE)


def _layer_shape(layer: nn.LayerNorm, shape: Shape) -> Shape:
    normalised = tuple(layer.normalized_shape)
    expect(shape[-len(normalised) :] == normalised, layer, shape)
    return shape


def _row_flow(flow: Flow, node: fx.Node, layer: nn.LayerNorm, x: Tensor) -> Tensor:
    path = str(node.target)
    flow.block(path, NO_PRODUCER)
    flow.mix(x, range(-len(layer.normalized_shape), 0), node, f"{path} normalises all channels together")
    return x


def _emit_layer(b: GraphBuilder, layer: nn.LayerNorm, x: Operand) -> OnnxValue:
    shape = tuple(layer.normalized_shape)
    scale = torch.ones(shape) if layer.weight is None else layer.weight
    inputs = [x.value, b.weight(scale)] + ([] if layer.bias is None else [b.weight(layer.bias)])
    return b.op("LayerNormalization", inputs, axis=-len(shape), epsilon=float(layer.eps))


def _read_layer(node: Node) -> fx.Node:
    if any(name in node.state.uses for name in node.outputs[1:] if name):
        raise CaptureError("its mean or deviation is used")
    given = node.attributes.get("axis", -1)
    if given % len(node.whole()) <= node.batch_axis():
        raise CaptureError("it normalises samples together")
    axis = node.axis(given)
    shape = node.sample()[axis - 1 :]
    if node.constant(1).numel() != torch.Size(shape).numel():
        raise CaptureError(f"scales of sizes {tuple(node.constant(1).shape)} for {shape}")
    layer = nn.LayerNorm(shape, eps=node.attributes.get("epsilon", 1e-5), bias=node.given(2))
    return node.leaf(layer, node.tensor(), weight=1, **({"bias": 2} if node.given(2) else {}))


KINDS = (
    LayerKind(
        tuple(_BY_SAMPLE.values()),
        captured={"aten.instance_norm": _captured_instance},
        shape=None,
        macs=None,
        treatment=CHANNELWISE,
        emit=_emit_instance,
        read={"InstanceNormalization": _read_instance, "MeanVarianceNormalization": _read_mean_variance},
        tensors=batch_norm.TENSORS,
        keep_outputs=batch_norm.keep,
    ),
    LayerKind(
        (nn.GroupNorm,),
        captured={"aten.group_norm": _captured_group},
        shape=_group_shape,
        macs=None,
        treatment=Treatment("normalises groups of channels, which go together", _group_flow),
        emit=_emit_group,
        read={"GroupNormalization": _read_group},
        tensors=_AFFINE,
        keep_outputs=_keep_groups,
    ),
    LayerKind(
        (nn.LayerNorm,),
        captured={"aten.layer_norm": _captured_layer},
        shape=_layer_shape,
        macs=None,
        treatment=Treatment("normalises whole rows, so that none of their channels can go", _row_flow),
        emit=_emit_layer,
        read={"LayerNormalization": _read_layer},
        tensors=_AFFINE,
    ),
)
