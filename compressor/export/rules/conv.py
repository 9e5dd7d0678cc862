"""Convolutions, transposed convolutions and linear layers."""

from __future__ import annotations

from torch import Tensor, nn

from compressor.errors import ExportError
from compressor.export.rules.pad import pad_value
from compressor.export.rules.registry import per_axis, rule, unless
from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_out.builder import GraphBuilder, Operand


@rule(nn.Conv1d, nn.Conv2d, nn.Conv3d)
def convolution(b: GraphBuilder, layer: nn.Conv2d, x: Operand) -> OnnxValue:
    begin, end = padding_of(layer)
    value = x.value
    if layer.padding_mode != "zeros":
        value = pad_value(b, value, begin, end, layer.padding_mode)
        begin = end = [0] * len(begin)
    return b.op(
        "Conv",
        [value, *_parameters(b, layer.weight, layer.bias)],
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


@rule(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
def transposed_convolution(b: GraphBuilder, layer: nn.ConvTranspose2d, x: Operand) -> OnnxValue:
    axes = len(layer.kernel_size)
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        raise ExportError("a transposed convolution pads by numbers of zeros only")
    return b.op(
        "ConvTranspose",
        [x.value, *_parameters(b, layer.weight, layer.bias)],
        kernel_shape=layer.kernel_size,
        strides=unless(layer.stride, 1),
        dilations=unless(layer.dilation, 1),
        pads=unless(per_axis(layer.padding, axes) * 2, 0),
        output_padding=unless(per_axis(layer.output_padding, axes), 0),
        group=None if layer.groups == 1 else layer.groups,
    )


@rule(nn.Linear)
def linear(b: GraphBuilder, layer: nn.Linear, x: Operand) -> OnnxValue:
    if x.rank == 2:
        return b.op("Gemm", [x.value, *_parameters(b, layer.weight, layer.bias)], transB=1)
    product = b.op("MatMul", [x.value, b.weight(layer.weight.t())])
    return product if layer.bias is None else b.op("Add", [product, b.weight(layer.bias)])


def _parameters(b: GraphBuilder, weight: Tensor, bias: Tensor | None) -> list[OnnxValue]:
    return [b.weight(weight)] + ([] if bias is None else [b.weight(bias)])
