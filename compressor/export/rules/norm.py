"""Normalization layers. A BatchNorm that folds into its producer never gets here."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from compressor.errors import ExportError
from compressor.export.rules.registry import rule
from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_out.builder import GraphBuilder, Operand


@rule(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
def batch_norm(b: GraphBuilder, layer: nn.BatchNorm2d, x: Operand) -> OnnxValue:
    if layer.running_mean is None or layer.running_var is None:
        raise ExportError("a BatchNorm without running statistics depends on the batch it is given")
    scale, shift = _affine(layer.weight, layer.bias, layer.num_features)
    inputs = [b.weight(scale), b.weight(shift), b.weight(layer.running_mean), b.weight(layer.running_var)]
    return b.op("BatchNormalization", [x.value, *inputs], epsilon=float(layer.eps))


@rule(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
def instance_norm(b: GraphBuilder, layer: nn.InstanceNorm2d, x: Operand) -> OnnxValue:
    if layer.running_mean is not None:
        return batch_norm(b, layer, x)
    scale, shift = _affine(layer.weight, layer.bias, x.sample[0])
    return b.op("InstanceNormalization", [x.value, b.weight(scale), b.weight(shift)], epsilon=float(layer.eps))


@rule(nn.LayerNorm)
def layer_norm(b: GraphBuilder, layer: nn.LayerNorm, x: Operand) -> OnnxValue:
    shape = tuple(layer.normalized_shape)
    scale = torch.ones(shape) if layer.weight is None else layer.weight
    inputs = [x.value, b.weight(scale)] + ([] if layer.bias is None else [b.weight(layer.bias)])
    return b.op("LayerNormalization", inputs, axis=-len(shape), epsilon=float(layer.eps))


@rule(nn.GroupNorm)
def group_norm(b: GraphBuilder, layer: nn.GroupNorm, x: Operand) -> OnnxValue:
    """Each group as one instance-normalised channel; then the affine map per channel."""
    groups, shape = layer.num_groups, x.sample
    unit = b.constant(np.ones(groups, np.float32)), b.constant(np.zeros(groups, np.float32))
    value = b.op("Reshape", [x.value, b.integers([0, groups, -1])])
    value = b.reshape(b.op("InstanceNormalization", [value, *unit], epsilon=float(layer.eps)), shape)
    for op_type, parameter in (("Mul", layer.weight), ("Add", layer.bias)):
        if parameter is not None:
            value = b.op(op_type, [value, b.weight(parameter.view(-1, *[1] * (len(shape) - 1)))])
    return value


@rule(nn.LocalResponseNorm)
def response_norm(b: GraphBuilder, layer: nn.LocalResponseNorm, x: Operand) -> OnnxValue:
    """ONNX Runtime takes odd windows only; an even one reaches one channel further back than ahead."""
    alpha, beta, bias = float(layer.alpha), float(layer.beta), float(layer.k)
    if layer.size % 2:
        return b.op("LRN", [x.value], size=layer.size, bias=bias, alpha=alpha, beta=beta)
    squares = b.op("Reshape", [b.op("Mul", [x.value, x.value]), b.integers([0, 1, x.sample[0], -1])])
    pads = [layer.size // 2, 0, (layer.size - 1) // 2, 0]
    means = b.op("AveragePool", [squares], kernel_shape=[layer.size, 1], pads=pads, count_include_pad=True)
    spread = b.op("Add", [b.op("Mul", [b.reshape(means, x.sample), b.scalar(alpha)]), b.scalar(bias)])
    return b.op("Div", [x.value, b.op("Pow", [spread, b.scalar(beta)])])


def _affine(weight: Tensor | None, bias: Tensor | None, features: int) -> tuple[Tensor, Tensor]:
    return (
        torch.ones(features) if weight is None else weight,
        torch.zeros(features) if bias is None else bias,
    )
