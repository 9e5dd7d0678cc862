"""Operators that become modules without weights: activations, pooling, dropout, padding, changes of shape.

A rule takes the call and answers a module that computes the same bit for bit, or None where there is none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import nn

from compressor.graph.traced.call import Call, spread

PlainRule = Callable[[Call], nn.Module | None]


def _activation(kind: Callable[..., nn.Module], **defaults: Any) -> PlainRule:
    """A module whose settings are arguments of the same name."""

    def rule(call: Call) -> nn.Module | None:
        return kind(**{name: call.get(name, default) for name, default in defaults.items()})

    return rule


def _hardtanh(call: Call) -> nn.Module:
    low, high = call.get("min_val", -1), call.get("max_val", 1)
    return nn.ReLU6() if (low, high) == (0, 6) else nn.Hardtanh(low, high)


def _elu(call: Call) -> nn.Module | None:
    scaled = (call.get("scale", 1), call.get("input_scale", 1)) != (1, 1)
    return None if scaled else nn.ELU(call.get("alpha", 1.0))


def _rrelu(call: Call) -> nn.Module:
    return nn.RReLU(call.get("lower", 1 / 8), call.get("upper", 1 / 3))


def _softmax(kind: Callable[..., nn.Module]) -> PlainRule:
    def rule(call: Call) -> nn.Module | None:
        return None if call.has("dtype") else kind(dim=call.get("dim"))

    return rule


def _dropout(*kinds: Callable[[float], nn.Module]) -> PlainRule:
    """By rank where there are several kinds. Dropout that is on in a network traced in eval mode is always on."""

    def rule(call: Call) -> nn.Module | None:
        if call.get("train") and not call.program.in_training:
            return None
        kind = kinds[0] if len(kinds) == 1 else dict(zip((3, 4, 5), kinds, strict=True)).get(call.rank)
        return None if kind is None else kind(call.get("p"))

    return rule


def _max_pool(dimensions: int, kind: Callable[..., nn.Module]) -> PlainRule:
    def rule(call: Call) -> nn.Module:
        kernel = spread(call.get("kernel_size"), dimensions)
        return kind(
            kernel,
            spread(call.get("stride") or kernel, dimensions),
            spread(call.get("padding", 0), dimensions),
            spread(call.get("dilation", 1), dimensions),
            ceil_mode=call.get("ceil_mode", False),
        )

    return rule


def _average_pool(dimensions: int, kind: Callable[..., nn.Module]) -> PlainRule:
    def rule(call: Call) -> nn.Module:
        kernel = spread(call.get("kernel_size"), dimensions)
        divisor = {"divisor_override": call.get("divisor_override")} if dimensions > 1 else {}
        return kind(
            kernel,
            spread(call.get("stride") or kernel, dimensions),
            spread(call.get("padding", 0), dimensions),
            call.get("ceil_mode", False),
            call.get("count_include_pad", True),
            **divisor,
        )

    return rule


def _adaptive(dimensions: int, kind: Callable[..., nn.Module]) -> PlainRule:
    def rule(call: Call) -> nn.Module:
        sizes = spread(call.get("output_size"), dimensions)
        return kind(sizes if dimensions > 1 else sizes[0])

    return rule


_PADS: dict[tuple[str, int], Callable[..., nn.Module]] = {
    ("reflect", 1): nn.ReflectionPad1d,
    ("reflect", 2): nn.ReflectionPad2d,
    ("reflect", 3): nn.ReflectionPad3d,
    ("replicate", 1): nn.ReplicationPad1d,
    ("replicate", 2): nn.ReplicationPad2d,
    ("replicate", 3): nn.ReplicationPad3d,
    ("circular", 1): nn.CircularPad1d,
    ("circular", 2): nn.CircularPad2d,
    ("circular", 3): nn.CircularPad3d,
    ("zero", 1): nn.ZeroPad1d,
    ("zero", 2): nn.ZeroPad2d,
    ("zero", 3): nn.ZeroPad3d,
}
_CONSTANT_PADS: dict[int, Callable[..., nn.Module]] = {
    1: nn.ConstantPad1d,
    2: nn.ConstantPad2d,
    3: nn.ConstantPad3d,
}


def _pad(call: Call) -> nn.Module | None:
    """Padding of space; padding of the channels, or of some dimensions only, has no module."""
    pads, mode, value = tuple(call.get("pad")), call.get("mode", "constant"), call.get("value") or 0
    dimensions = call.rank - 2
    if dimensions not in (1, 2, 3) or len(pads) > 2 * dimensions:
        return None
    if mode != "constant":
        kind = _PADS.get((mode, dimensions)) if len(pads) == 2 * dimensions else None
        return None if kind is None else kind(pads)
    pads += (0,) * (2 * dimensions - len(pads))
    return _PADS["zero", dimensions](pads) if value == 0 else _CONSTANT_PADS[dimensions](pads, value)


def _flatten(call: Call) -> nn.Module | None:
    start, end = call.get("start_dim", 0), call.get("end_dim", -1)
    if call.rank and start % call.rank == 0:
        return _to_rows(call)
    return nn.Flatten(start, end)


def _to_rows(call: Call) -> nn.Module | None:
    """Any way of turning each sample into one row."""
    before, after = call.sample, call.result_sample
    if before is None or after is None or len(before) < 2 or after != (math.prod(before),):
        return None
    return nn.Flatten(1)


PLAIN: dict[str, PlainRule] = {
    "aten.relu": _activation(nn.ReLU),
    "aten.relu6": _activation(nn.ReLU6),
    "aten.hardtanh": _hardtanh,
    "aten.leaky_relu": _activation(nn.LeakyReLU, negative_slope=0.01),
    "aten.rrelu": _rrelu,
    "aten.elu": _elu,
    "aten.selu": _activation(nn.SELU),
    "aten.celu": _activation(nn.CELU, alpha=1.0),
    "aten.gelu": _activation(nn.GELU, approximate="none"),
    "aten.silu": _activation(nn.SiLU),
    "aten.mish": _activation(nn.Mish),
    "aten.hardswish": _activation(nn.Hardswish),
    "aten.hardsigmoid": _activation(nn.Hardsigmoid),
    "aten.sigmoid": _activation(nn.Sigmoid),
    "aten.tanh": _activation(nn.Tanh),
    "aten.softplus": _activation(nn.Softplus, beta=1, threshold=20),
    "aten.log_sigmoid": _activation(nn.LogSigmoid),
    "aten.hardshrink": _activation(nn.Hardshrink, lambd=0.5),
    "aten.softshrink": _activation(nn.Softshrink, lambd=0.5),
    "aten.threshold": _activation(nn.Threshold, threshold=0, value=0),
    "aten.softmax": _softmax(nn.Softmax),
    "aten.log_softmax": _softmax(nn.LogSoftmax),
    "aten.dropout": _dropout(nn.Dropout),
    "aten.feature_dropout": _dropout(nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    "aten.alpha_dropout": _dropout(nn.AlphaDropout),
    "aten.feature_alpha_dropout": _dropout(nn.FeatureAlphaDropout),
    "aten.max_pool1d": _max_pool(1, nn.MaxPool1d),
    "aten.max_pool2d": _max_pool(2, nn.MaxPool2d),
    "aten.max_pool3d": _max_pool(3, nn.MaxPool3d),
    "aten.avg_pool1d": _average_pool(1, nn.AvgPool1d),
    "aten.avg_pool2d": _average_pool(2, nn.AvgPool2d),
    "aten.avg_pool3d": _average_pool(3, nn.AvgPool3d),
    "aten.adaptive_avg_pool1d": _adaptive(1, nn.AdaptiveAvgPool1d),
    "aten.adaptive_avg_pool2d": _adaptive(2, nn.AdaptiveAvgPool2d),
    "aten.adaptive_avg_pool3d": _adaptive(3, nn.AdaptiveAvgPool3d),
    "aten.adaptive_max_pool1d": _adaptive(1, nn.AdaptiveMaxPool1d),
    "aten.adaptive_max_pool2d": _adaptive(2, nn.AdaptiveMaxPool2d),
    "aten.adaptive_max_pool3d": _adaptive(3, nn.AdaptiveMaxPool3d),
    "aten.pad": _pad,
    "aten.constant_pad_nd": _pad,
    "aten.pixel_shuffle": _activation(nn.PixelShuffle, upscale_factor=1),
    "aten.pixel_unshuffle": _activation(nn.PixelUnshuffle, downscale_factor=1),
    "aten.channel_shuffle": _activation(nn.ChannelShuffle, groups=1),
    "aten.flatten": _flatten,
    "aten.view": _to_rows,
    "aten.reshape": _to_rows,
    "aten.squeeze": _to_rows,
}
"""Operator without its overload and without the underscore of in-place → rule."""
