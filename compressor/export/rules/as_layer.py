"""Functions that are layers by another name: each builds the equal layer, whose rule then writes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from compressor.errors import ExportError
from compressor.export.rules.call import CallSite, function
from compressor.export.rules.layer import write_layer
from compressor.graph.layers.resample import resize
from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_out.builder import GraphBuilder
from compressor.graph.onnx_out.matrices import by_matrices

Argument = Callable[..., Any]


def _layer(name: str, build: Callable[[Argument], nn.Module]) -> None:
    """``build`` gets ``argument(position, *names, default=…)`` of the call; the tensor is at position 0."""

    @function(name)
    def emit(b: GraphBuilder, call: CallSite) -> OnnxValue:
        return write_layer(b, build(call.argument), call.operand())


_layer("relu", lambda a: nn.ReLU())
_layer("relu6", lambda a: nn.ReLU6())
_layer("sigmoid", lambda a: nn.Sigmoid())
_layer("tanh", lambda a: nn.Tanh())
_layer("silu", lambda a: nn.SiLU())
_layer("mish", lambda a: nn.Mish())
_layer("selu", lambda a: nn.SELU())
_layer("hardswish", lambda a: nn.Hardswish())
_layer("hardsigmoid", lambda a: nn.Hardsigmoid())
_layer("log_sigmoid", lambda a: nn.LogSigmoid())
_layer("logsigmoid", lambda a: nn.LogSigmoid())
_layer("softsign", lambda a: nn.Softsign())
_layer("tanhshrink", lambda a: nn.Tanhshrink())
_layer("gelu", lambda a: nn.GELU(a(1, "approximate", default="none")))
_layer("celu", lambda a: nn.CELU(a(1, "alpha", default=1.0)))
_layer("leaky_relu", lambda a: nn.LeakyReLU(a(1, "negative_slope", default=0.01)))
_layer("hardtanh", lambda a: nn.Hardtanh(a(1, "min_val", default=-1.0), a(2, "max_val", default=1.0)))
_layer("threshold", lambda a: nn.Threshold(a(1, "threshold"), a(2, "value")))
_layer("softplus", lambda a: nn.Softplus(a(1, "beta", default=1.0), a(2, "threshold", default=20.0)))
_layer("softshrink", lambda a: nn.Softshrink(a(1, "lambd", default=0.5)))
_layer("hardshrink", lambda a: nn.Hardshrink(a(1, "lambd", default=0.5)))
_layer("glu", lambda a: nn.GLU(a(1, "dim", default=-1)))
_layer("softmax", lambda a: nn.Softmax(a(1, "dim")))
_layer("_softmax", lambda a: nn.Softmax(a(1, "dim")))
_layer("log_softmax", lambda a: nn.LogSoftmax(a(1, "dim")))
_layer("_log_softmax", lambda a: nn.LogSoftmax(a(1, "dim")))
_layer("pixel_shuffle", lambda a: nn.PixelShuffle(a(1, "upscale_factor")))
_layer("pixel_unshuffle", lambda a: nn.PixelUnshuffle(a(1, "downscale_factor")))
_layer("channel_shuffle", lambda a: nn.ChannelShuffle(a(1, "groups")))


def _pools(axes: int, largest: Any, average: Any, adaptive_largest: Any, adaptive_average: Any) -> None:
    _layer(
        f"max_pool{axes}d",
        lambda a: largest(
            a(1, "kernel_size"),
            a(2, "stride") or None,
            a(3, "padding", default=0),
            a(4, "dilation", default=1),
            ceil_mode=a(5, "ceil_mode", default=False),
        ),
    )
    _layer(
        f"avg_pool{axes}d",
        lambda a: average(
            a(1, "kernel_size"),
            a(2, "stride") or None,
            a(3, "padding", default=0),
            a(4, "ceil_mode", default=False),
            a(5, "count_include_pad", default=True),
            *([a(6, "divisor_override")] if axes > 1 else []),
        ),
    )
    _layer(f"adaptive_avg_pool{axes}d", lambda a: adaptive_average(a(1, "output_size")))
    _layer(f"adaptive_max_pool{axes}d", lambda a: adaptive_largest(a(1, "output_size")))


_pools(1, nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveMaxPool1d, nn.AdaptiveAvgPool1d)
_pools(2, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d)
_pools(3, nn.MaxPool3d, nn.AvgPool3d, nn.AdaptiveMaxPool3d, nn.AdaptiveAvgPool3d)


@function("elu")
def elu(b: GraphBuilder, call: CallSite) -> OnnxValue:
    """scale · (x > 0 ? x : α (exp(x) − 1)), which is ONNX's Selu."""
    if call.argument(3, "input_scale", default=1) != 1:
        raise ExportError("an ELU with an input scale")
    alpha, scale = call.argument(1, "alpha", default=1.0), call.argument(2, "scale", default=1.0)
    gamma = 1.0 if isinstance(scale, bool) else float(scale)  # in torch.nn.functional, "inplace" stands here
    return b.op("Selu", [call.operand().value], alpha=float(alpha), gamma=gamma)


UPSAMPLING = {
    **{f"upsample_nearest{n}d": "nearest" for n in (1, 2, 3)},
    **{f"_upsample_nearest_exact{n}d": "nearest-exact" for n in (1, 2, 3)},
    "upsample_linear1d": "linear",
    "upsample_bilinear2d": "bilinear",
    "upsample_trilinear3d": "trilinear",
    "upsample_bicubic2d": "bicubic",
}


@function(*UPSAMPLING)
def upsample(b: GraphBuilder, call: CallSite) -> OnnxValue:
    """``(input, output_size, [align_corners,] scale_factors)`` as the exported operators take them."""
    nearest = "nearest" in call.name
    return resize(
        b,
        call.operand(),
        UPSAMPLING[call.name],
        size=call.argument(1, "output_size"),
        scales=call.argument(2 if nearest else 3, "scale_factors"),
        align_corners=False if nearest else bool(call.argument(2, "align_corners", default=False)),
    )


@function("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa")
def smooth(b: GraphBuilder, call: CallSite) -> OnnxValue:
    """With antialiasing: a linear map of each axis, as torch itself tells, which runtimes round in other ways."""
    x, corners = call.operand(), bool(call.argument(2, "align_corners"))
    factors = call.argument(3, "scale_factors")
    matrices = []
    for axis, (size, target) in enumerate(zip(x.sample[1:], call.shape[1:], strict=True)):
        unit = torch.eye(size).view(size, 1, 1, size)
        operator = getattr(torch.ops.aten, call.name)
        scale = None if factors is None else [1.0, factors[axis]]
        line = operator(unit, None if scale else [1, target], corners, scale)
        matrices.append(line.view(size, target).t())
    return by_matrices(b, x, matrices)


@function("interpolate")
def interpolate(b: GraphBuilder, call: CallSite) -> OnnxValue:
    if call.argument(6, "antialias", default=False):
        raise ExportError("interpolation with antialiasing: capture the network first")
    recompute = call.argument(5, "recompute_scale_factor", default=None)
    return resize(
        b,
        call.operand(),
        call.argument(3, "mode", default="nearest"),
        size=call.shape[1:] if recompute else call.argument(1, "size"),
        scales=None if recompute else call.argument(2, "scale_factor"),
        align_corners=bool(call.argument(4, "align_corners", default=False)),
    )
