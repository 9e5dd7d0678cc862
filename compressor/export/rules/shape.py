"""Layers that move values about without computing: flatten, unflatten, shuffles, upsampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from compressor.errors import ExportError
from compressor.export.rules.activation import sample_axis
from compressor.export.rules.registry import per_axis, rule
from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_out.builder import GraphBuilder, Operand


@rule(nn.Flatten)
def flatten(b: GraphBuilder, layer: nn.Flatten, x: Operand) -> OnnxValue:
    first, last = sample_axis(layer.start_dim, x), sample_axis(layer.end_dim, x)
    if first == last:
        return x.value
    if first == 1 and last == len(x.sample):
        return b.op("Flatten", [x.value], axis=1)
    inner = math.prod(x.sample[first - 1 : last])
    return b.reshape(x.value, (*x.sample[: first - 1], inner, *x.sample[last:]))


@rule(nn.Unflatten)
def unflatten(b: GraphBuilder, layer: nn.Unflatten, x: Operand) -> OnnxValue:
    if not isinstance(layer.dim, int):
        raise ExportError("unflatten of a named dimension")
    axis = sample_axis(layer.dim, x)
    return b.reshape(
        x.value, (*x.sample[: axis - 1], *(int(size) for size in layer.unflattened_size), *x.sample[axis:])
    )


@rule(nn.PixelShuffle)
def pixel_shuffle(b: GraphBuilder, layer: nn.PixelShuffle, x: Operand) -> OnnxValue:
    return b.op("DepthToSpace", [x.value], blocksize=layer.upscale_factor, mode="CRD")


@rule(nn.PixelUnshuffle)
def pixel_unshuffle(b: GraphBuilder, layer: nn.PixelUnshuffle, x: Operand) -> OnnxValue:
    (channels, height, width), r = x.sample, layer.downscale_factor
    blocks = b.reshape(x.value, (channels, height // r, r, width // r, r))
    moved = b.op("Transpose", [blocks], perm=[0, 1, 3, 5, 2, 4])
    return b.reshape(moved, (channels * r * r, height // r, width // r))


@rule(nn.ChannelShuffle)
def channel_shuffle(b: GraphBuilder, layer: nn.ChannelShuffle, x: Operand) -> OnnxValue:
    channels, *sizes = x.sample
    grouped = b.reshape(x.value, (layer.groups, channels // layer.groups, *sizes))
    moved = b.op("Transpose", [grouped], perm=[0, 2, 1, *range(3, len(sizes) + 3)])
    return b.reshape(moved, x.sample)


@rule(nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d)
def upsample(b: GraphBuilder, layer: nn.Upsample, x: Operand) -> OnnxValue:
    scales = None if layer.recompute_scale_factor else layer.scale_factor
    size = layer.size
    if layer.recompute_scale_factor and layer.scale_factor is not None:
        factors = _factors(layer.scale_factor, len(x.sample) - 1)
        size = tuple(math.floor(n * f) for n, f in zip(x.sample[1:], factors, strict=True))
    return resize(b, x, layer.mode, size=size, scales=scales, align_corners=bool(layer.align_corners))


_INTERPOLATION: dict[str, dict[str, Any]] = {
    "nearest": {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    "nearest-exact": {
        "mode": "nearest",
        "coordinate_transformation_mode": "half_pixel",
        "nearest_mode": "round_prefer_ceil",
    },
    "linear": {"mode": "linear"},
    "bilinear": {"mode": "linear"},
    "trilinear": {"mode": "linear"},
    "bicubic": {"mode": "cubic", "cubic_coeff_a": -0.75},
}


def resize(
    b: GraphBuilder,
    x: Operand,
    mode: str,
    *,
    size: int | Sequence[int] | None,
    scales: float | Sequence[float] | None,
    align_corners: bool,
) -> OnnxValue:
    """torch's ``interpolate``: by ``scales`` when given, else to ``size`` (each per spatial axis, or one for all)."""
    if mode not in _INTERPOLATION:
        raise ExportError(f"interpolation mode {mode!r} has no ONNX form")
    axes = len(x.sample) - 1
    attributes = dict(_INTERPOLATION[mode])
    if "nearest" not in mode:
        attributes["coordinate_transformation_mode"] = "align_corners" if align_corners else "half_pixel"
    if scales is not None:
        factors = b.constant(np.array([1.0, 1.0, *_factors(scales, axes)], dtype=np.float32))
        return b.op("Resize", [x.value, None, factors], **attributes)
    if size is None:
        raise ExportError("interpolation with neither a size nor a scale")
    ratios = [target / source for target, source in zip(per_axis(size, axes), x.sample[1:], strict=True)]
    if all(ratio == int(ratio) for ratio in ratios):
        return resize(b, x, mode, size=None, scales=ratios, align_corners=align_corners)
    target = b.integers(per_axis(size, axes))
    return b.op("Resize", [x.value, None, None, target], axes=list(range(2, axes + 2)), **attributes)


def _factors(scales: float | Sequence[float], axes: int) -> list[float]:
    if isinstance(scales, int | float):
        return [float(scales)] * axes
    return [float(scale) for scale in scales]
