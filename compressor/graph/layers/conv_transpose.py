"""Transposed convolutions, which enlarge: over one, two or three dimensions of space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, fx, nn

from compressor.errors import CaptureError, ExportError
from compressor.graph.layers.affine import moved_bias, with_weights
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
from compressor.graph.layers.windows import ByRank, expect
from compressor.graph.leaf import OnnxValue, Shape
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_out.axes import per_axis, unless
from compressor.graph.onnx_out.builder import GraphBuilder, Operand
from compressor.graph.traced.call import Call, spread
from compressor.graph.traced.layer import Layer, trained, weight_sizes, with_tensors

BY_RANK: Final[ByRank] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def captured(call: Call) -> Layer | None:
    if not trained(call, *TENSORS):
        return None
    inputs, outputs, *kernel = weight_sizes(call)
    settings = captured_settings(call, kernel)
    settings["output_padding"] = spread(call.get("output_padding", 0), len(kernel))
    return with_tensors(call, lambda: BY_RANK[len(kernel)](inputs, outputs * settings["groups"], **settings), *TENSORS)


def _shape(layer: nn.ConvTranspose2d, shape: Shape) -> Shape:
    rank = len(layer.kernel_size)
    expect(len(shape) == rank + 1 and shape[0] == layer.in_channels, layer, shape)
    sizes = (
        (size - 1) * stride - 2 * int(padding) + dilation * (kernel - 1) + extra + 1
        for size, kernel, stride, padding, dilation, extra in zip(
            shape[1:], layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.output_padding, strict=True
        )
    )
    return (layer.out_channels, *sizes)


def _macs(layer: nn.ConvTranspose2d, shape: Shape) -> int:
    """Every weight once for every place of what it takes."""
    return math.prod(shape[1:]) * layer.weight.numel()


def _emit(b: GraphBuilder, layer: nn.ConvTranspose2d, x: Operand) -> OnnxValue:
    axes = len(layer.kernel_size)
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        raise ExportError("a transposed convolution pads by numbers of zeros only")
    return b.op(
        "ConvTranspose",
        [x.value, *emitted_parameters(b, layer.weight, layer.bias)],
        kernel_shape=layer.kernel_size,
        strides=unless(layer.stride, 1),
        dilations=unless(layer.dilation, 1),
        pads=unless(per_axis(layer.padding, axes) * 2, 0),
        output_padding=unless(per_axis(layer.output_padding, axes), 0),
        group=None if layer.groups == 1 else layer.groups,
    )


def _fold(layer: nn.ConvTranspose2d, scale: Tensor, shift: Tensor, rank: int) -> nn.Module:
    weight = layer.weight.detach().double()
    grouped = weight.view(layer.groups, -1, *weight.shape[1:])
    factors = scale.to(grouped.device).view(layer.groups, 1, -1, *[1] * len(layer.kernel_size))
    return with_weights(layer, (grouped * factors).flatten(0, 1), moved_bias(layer.bias, scale, shift))


# --- reading ---------------------------------------------------------------------------------------------------------


def _read(node: Node) -> fx.Node:
    """Padding is what is cut from the result; what a layer cannot cut itself is cut behind it."""
    inputs, outputs, *kernel = node.constant(1).shape
    count, groups = len(kernel), node.attributes.get("group", 1)
    if count not in BY_RANK or len(node.sample()) != count + 1 or node.sample()[0] != inputs:
        raise CaptureError(f"weights of sizes {tuple(node.constant(1).shape)} do not take samples of {node.sample()}")
    strides = list(node.attributes.get("strides", [1] * count))
    dilations = list(node.attributes.get("dilations", [1] * count))
    extra = list(node.attributes.get("output_padding", [0] * count))
    full = [
        stride * (size - 1) + dilation * (width - 1) + 1 + more
        for size, stride, dilation, width, more in zip(
            node.sample()[1:], strides, dilations, kernel, extra, strict=True
        )
    ]
    before, after = _cut_sides(node, strides, full)
    if min(before + after) < 0:
        raise CaptureError("a result that is larger than what its windows reach")
    padding = before if before == after else [0] * count
    with torch.device("meta"):
        layer = BY_RANK[count](
            inputs,
            outputs * groups,
            tuple(kernel),
            tuple(strides),
            tuple(padding),
            tuple(extra),
            groups,
            node.given(2),
            tuple(dilations),
        )
    result = node.leaf(layer, node.tensor(), weight=1, **read_bias(node))
    for axis, (first, last, size) in enumerate(zip(before, after, full, strict=True), start=2):
        if before != after and (first or last):
            result = node.apply(torch.ops.aten.slice.Tensor, result, axis, first, size - last, 1)
    return result


def _cut_sides(node: Node, strides: Sequence[int], full: Sequence[int]) -> tuple[list[int], list[int]]:
    """How much of the full result is cut before and after, per dimension of space."""
    count = len(full)
    mode, wanted = node.attributes.get("auto_pad", b"NOTSET"), node.attributes.get("output_shape")
    if wanted is None and mode in (b"NOTSET", b"", b"VALID"):
        pads = list(node.attributes.get("pads", [0] * 2 * count))
        return pads[:count], pads[count:]
    if wanted is None:
        wanted = [size * stride for size, stride in zip(node.sample()[1:], strides, strict=True)]
    totals = [size - want for size, want in zip(full, list(wanted)[-count:], strict=True)]
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return (small, large) if mode == b"SAME_UPPER" else (large, small)


KINDS = (
    LayerKind(
        tuple(BY_RANK.values()),
        captured=dict.fromkeys(("aten.conv_transpose1d", "aten.conv_transpose2d", "aten.conv_transpose3d"), captured),
        shape=_shape,
        macs=_macs,
        treatment=TREATMENT,
        emit=_emit,
        read={"ConvTranspose": _read},
        tensors=TENSORS,
        keep_outputs=keep_outputs,
        keep_inputs=keep_inputs,
        fold_affine=_fold,
        integers=Integers.WEIGHS,
    ),
)
