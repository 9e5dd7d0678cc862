"""Layers with weights, called as functions: with weights that are computed, or shared with something else.

Their weights must not depend on the input. Argument order is that of torch's operators.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from compressor.errors import ExportError
from compressor.export.rules.call import CallSite, function
from compressor.export.rules.layer import write_layer
from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_out.axes import per_axis
from compressor.graph.onnx_out.builder import GraphBuilder, Operand

CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, Any] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def _write(b: GraphBuilder, call: CallSite, build: Callable[[], nn.Module], **tensors: Tensor | None) -> OnnxValue:
    """The layer that ``build`` makes, holding ``tensors``, written by its kind."""
    with torch.device("meta"):
        layer = build()
    for name, tensor in tensors.items():
        holder: dict[str, Any] = layer._buffers if name.startswith("running") else layer._parameters
        holder[name] = tensor
    return write_layer(b, layer, call.operand())


def _needed(tensor: Tensor | None) -> Tensor:
    if tensor is None:
        raise ExportError("a layer without weights")
    return tensor


def _check_order(call: CallSite) -> None:
    """Of the same name, but with its arguments in another order, is a function of torch.nn.functional."""
    if not isinstance(call.node.target, torch._ops.OpOverload):
        raise ExportError("capture the network first: only the exported operator is known")


@function("conv1d", "conv2d", "conv3d")
def convolution(b: GraphBuilder, call: CallSite) -> OnnxValue:
    weight, bias = _needed(call.constant(1, "weight")), call.constant(2, "bias")
    axes, groups = weight.dim() - 2, call.argument(6, "groups", default=1)
    padding = call.argument(4, "padding", default=0)
    settings = {
        "kernel_size": tuple(weight.shape[2:]),
        "stride": tuple(per_axis(call.argument(3, "stride", default=1), axes)),
        "padding": padding if isinstance(padding, str) else tuple(per_axis(padding, axes)),
        "dilation": tuple(per_axis(call.argument(5, "dilation", default=1), axes)),
        "groups": groups,
        "bias": bias is not None,
    }
    inputs, outputs = weight.shape[1] * groups, weight.shape[0]
    return _write(b, call, lambda: CONVOLUTIONS[axes](inputs, outputs, **settings), weight=weight, bias=bias)


@function("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def transposed_convolution(b: GraphBuilder, call: CallSite) -> OnnxValue:
    weight, bias = _needed(call.constant(1, "weight")), call.constant(2, "bias")
    axes, groups = weight.dim() - 2, call.argument(6, "groups", default=1)
    settings = {
        "kernel_size": tuple(weight.shape[2:]),
        "stride": tuple(per_axis(call.argument(3, "stride", default=1), axes)),
        "padding": tuple(per_axis(call.argument(4, "padding", default=0), axes)),
        "output_padding": tuple(per_axis(call.argument(5, "output_padding", default=0), axes)),
        "dilation": tuple(per_axis(call.argument(7, "dilation", default=1), axes)),
        "groups": groups,
        "bias": bias is not None,
    }
    inputs, outputs = weight.shape[0], weight.shape[1] * groups
    return _write(b, call, lambda: TRANSPOSED[axes](inputs, outputs, **settings), weight=weight, bias=bias)


@function("linear")
def linear(b: GraphBuilder, call: CallSite) -> OnnxValue:
    weight, bias = _needed(call.constant(1, "weight")), call.constant(2, "bias")
    return _write(b, call, lambda: nn.Linear(weight.shape[1], weight.shape[0]), weight=weight, bias=bias)


@function("prelu")
def prelu(b: GraphBuilder, call: CallSite) -> OnnxValue:
    weight = _needed(call.constant(1, "weight"))
    return _write(b, call, lambda: nn.PReLU(weight.numel()), weight=weight)


@function("layer_norm")
def layer_norm(b: GraphBuilder, call: CallSite) -> OnnxValue:
    shape, epsilon = tuple(call.argument(1, "normalized_shape")), call.argument(4, "eps", default=1e-5)
    weight, bias = call.constant(2, "weight"), call.constant(3, "bias")
    return _write(b, call, lambda: nn.LayerNorm(shape, epsilon), weight=weight, bias=bias)


@function("group_norm")
def group_norm(b: GraphBuilder, call: CallSite) -> OnnxValue:
    groups, epsilon = call.argument(1, "num_groups"), call.argument(4, "eps", default=1e-5)
    weight, bias = call.constant(2, "weight"), call.constant(3, "bias")
    channels = call.operand().sample[0]
    return _write(b, call, lambda: nn.GroupNorm(groups, channels, epsilon), weight=weight, bias=bias)


@function("batch_norm")
def batch_norm(b: GraphBuilder, call: CallSite) -> OnnxValue:
    _check_order(call)
    names = ("weight", "bias", "running_mean", "running_var")
    tensors = {name: call.constant(position, name) for position, name in enumerate(names, start=1)}
    if call.argument(5, "training", default=False):
        raise ExportError("a BatchNorm that uses the statistics of the batch it is given")
    epsilon, channels = call.argument(7, "eps", default=1e-5), call.operand().sample[0]
    return _write(b, call, lambda: nn.BatchNorm2d(channels, epsilon), **tensors)


@function("instance_norm")
def instance_norm(b: GraphBuilder, call: CallSite) -> OnnxValue:
    _check_order(call)
    weight, bias = call.constant(1, "weight"), call.constant(2, "bias")
    if not call.argument(5, "use_input_stats", default=True):
        raise ExportError("an InstanceNorm with statistics of its own, called as a function")
    epsilon, channels = call.argument(7, "eps", default=1e-5), call.operand().sample[0]
    return _write(b, call, lambda: nn.InstanceNorm2d(channels, epsilon), weight=weight, bias=bias)


@function("rms_norm")
def rms_norm(b: GraphBuilder, call: CallSite) -> OnnxValue:
    """x / √(mean x² + ε), over the last dimensions."""
    x, shape = call.operand(), call.argument(1, "normalized_shape")
    weight, epsilon = call.argument(2, "weight"), call.argument(3, "eps")
    epsilon = torch.finfo(torch.float32).eps if epsilon is None else float(epsilon)
    mean = b.op("ReduceMean", [b.op("Mul", [x.value, x.value]), b.integers(range(-len(shape), 0))], keepdims=True)
    value = b.op("Div", [x.value, b.op("Sqrt", [b.op("Add", [mean, b.scalar(epsilon)])])])
    return b.op("Mul", [value, weight.value]) if isinstance(weight, Operand) else value
