"""Upsampling: an image to another size, by copies or by interpolation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from torch import nn

from compressor.errors import ExportError
from compressor.graph.flow.treatments import SPATIAL
from compressor.graph.layers.kind import NOT_CAPTURED, NOT_READ, LayerKind
from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_out.axes import per_axis
from compressor.graph.onnx_out.builder import GraphBuilder, Operand

_INTERPOLATION: Final[dict[str, dict[str, Any]]] = {
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


def _emit(b: GraphBuilder, layer: nn.Upsample, x: Operand) -> OnnxValue:
    scales = None if layer.recompute_scale_factor else layer.scale_factor
    size = layer.size
    if layer.recompute_scale_factor and layer.scale_factor is not None:
        factors = _factors(layer.scale_factor, len(x.sample) - 1)
        size = tuple(math.floor(n * f) for n, f in zip(x.sample[1:], factors, strict=True))
    return resize(b, x, layer.mode, size=size, scales=scales, align_corners=bool(layer.align_corners))


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


KINDS = (
    LayerKind(
        (nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d),
        captured=NOT_CAPTURED,
        shape=None,
        macs=None,
        treatment=SPATIAL,
        emit=_emit,
        read=NOT_READ,  # graph.onnx_in.resize: ONNX has more ways to interpolate than torch, place by place
    ),
)
