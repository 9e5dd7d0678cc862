"""Convolutions over one, two or three dimensions of space."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import fx, nn

from compressor.errors import CaptureError
from compressor.graph.layers import conv_transpose
from compressor.graph.layers.affine import scaled_rows
from compressor.graph.layers.convolving import (
    TENSORS,
    TREATMENT,
    captured_settings,
    emitted_parameters,
    keep_inputs,
    keep_outputs,
    read_bias,
)
from compressor.graph.layers.kind import Integers, LayerKind
from compressor.graph.layers.pad import padded
from compressor.graph.layers.windows import ByRank, expect, sliding
from compressor.graph.leaf import OnnxValue, Shape
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_out.axes import per_axis, unless
from compressor.graph.onnx_out.builder import GraphBuilder, Operand
from compressor.graph.onnx_out.pads import pad_value
from compressor.graph.traced.call import Call
from compressor.graph.traced.layer import Layer, trained, weight_sizes, with_tensors

BY_RANK: Final[ByRank] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def _captured(call: Call) -> Layer | None:
    if not trained(call, *TENSORS):
        return None
    outputs, inputs, *kernel = weight_sizes(call)
    settings = captured_settings(call, kernel)
    return with_tensors(call, lambda: BY_RANK[len(kernel)](inputs * settings["groups"], outputs, **settings), *TENSORS)


def _captured_either(call: Call) -> Layer | None:
    return conv_transpose.captured(call) if call.get("transposed") else _captured(call)


def _shape(layer: nn.Conv2d, shape: Shape) -> Shape:
    rank = len(layer.kernel_size)
    expect(len(shape) == rank + 1 and shape[0] == layer.in_channels, layer, shape)
    if layer.padding == "same":
        return (layer.out_channels, *shape[1:])
    padding = (0,) * rank if isinstance(layer.padding, str) else tuple(layer.padding)
    return sliding(layer, shape, layer.out_channels, padding)


def _macs(layer: nn.Conv2d, shape: Shape) -> int:
    """Every weight once for every place of the result."""
    return math.prod(_shape(layer, shape)[1:]) * layer.weight.numel()


def _emit(b: GraphBuilder, layer: nn.Conv2d, x: Operand) -> OnnxValue:
    begin, end = padding_of(layer)
    value = x.value
    if layer.padding_mode != "zeros":
        value = pad_value(b, value, begin, end, layer.padding_mode)
        begin = end = [0] * len(begin)
    return b.op(
        "Conv",
        [value, *emitted_parameters(b, layer.weight, layer.bias)],
        kernel_shape=layer.kernel_size,
        strides=unless(layer.stride, 1),
        dilations=unless(layer.dilation, 1),
        pads=unless([*begin, *end], 0),
        group=None if layer.groups == 1 else layer.groups,
    )


def padding_of(layer: nn.Conv2d) -> tuple[list[int], list[int]]:
    """Zeros before and after each spatial axis; torch's "same" puts the odd one after."""
    axes = len(layer.kernel_size)
    if layer.padding == "valid":
        return [0] * axes, [0] * axes
    if layer.padding == "same":
        totals = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        return [total // 2 for total in totals], [total - total // 2 for total in totals]
    both = per_axis(layer.padding, axes)  # type: ignore[arg-type]
    return both, both


def read_convolution(node: Node) -> fx.Node:
    """``Conv``: input 1 its weights, input 2 its bias."""
    outputs, inputs, *kernel = node.constant(1).shape
    count, groups = len(kernel), node.attributes.get("group", 1)
    if count not in BY_RANK or len(node.sample()) != count + 1 or node.sample()[0] != inputs * groups:
        raise CaptureError(f"weights of sizes {tuple(node.constant(1).shape)} do not take samples of {node.sample()}")
    strides = node.attributes.get("strides", [1] * count)
    dilations = node.attributes.get("dilations", [1] * count)
    value, padding = padded(node, kernel, strides, dilations)
    with torch.device("meta"):
        layer = BY_RANK[count](
            inputs * groups, outputs, tuple(kernel), tuple(strides), padding, tuple(dilations), groups, node.given(2)
        )
    return node.leaf(layer, value, weight=1, **read_bias(node))


KINDS = (
    LayerKind(
        tuple(BY_RANK.values()),
        captured={
            **dict.fromkeys(("aten.conv1d", "aten.conv2d", "aten.conv3d"), _captured),
            "aten.convolution": _captured_either,
        },
        shape=_shape,
        macs=_macs,
        treatment=TREATMENT,
        emit=_emit,
        read={"Conv": read_convolution},
        tensors=TENSORS,
        keep_outputs=keep_outputs,
        keep_inputs=keep_inputs,
        fold_affine=lambda layer, scale, shift, rank: scaled_rows(layer, scale, shift),
        integers=Integers.WEIGHS,
    ),
)
