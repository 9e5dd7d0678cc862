"""Adaptive pooling, in exactly torch's sense of its windows: to a size, whatever the size of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, fx, nn

from compressor.errors import CaptureError, ExportError
from compressor.graph.flow.treatments import SPATIAL
from compressor.graph.layers.kind import Capture, Integers, LayerKind, Read, ShapeRule
from compressor.graph.layers.windows import ByRank, expect, rank_of
from compressor.graph.leaf import OnnxValue, Shape
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_out.builder import GraphBuilder, Operand
from compressor.graph.onnx_out.matrices import by_matrices
from compressor.graph.traced.call import Call, spread
from compressor.graph.traced.layer import Layer

_AVERAGE: Final[ByRank] = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
_MAXIMUM: Final[ByRank] = {1: nn.AdaptiveMaxPool1d, 2: nn.AdaptiveMaxPool2d, 3: nn.AdaptiveMaxPool3d}


def over_image() -> nn.Module:
    """The mean over height and width."""
    return nn.AdaptiveAvgPool2d((1, 1))


def _captured(kind: type[Any], dimensions: int) -> Capture:
    def capture(call: Call) -> Layer:
        sizes = spread(call.get("output_size"), dimensions)
        return Layer(kind(sizes if dimensions > 1 else sizes[0]))

    return capture


def _shape(classes: ByRank) -> ShapeRule:
    def shape_of(layer: Any, shape: Shape) -> Shape:
        rank = rank_of(layer, classes)
        expect(len(shape) == rank + 1, layer, shape)
        wanted = layer.output_size if isinstance(layer.output_size, tuple) else (layer.output_size,) * rank
        return (shape[0], *(size if want is None else want for size, want in zip(shape[1:], wanted, strict=True)))

    return shape_of


# --- writing ---------------------------------------------------------------------------------------------------------


def _emit_average(b: GraphBuilder, layer: nn.AdaptiveAvgPool2d, x: Operand) -> OnnxValue:
    sizes = x.sample[1:]
    targets = _targets(layer.output_size, sizes)
    if targets == sizes:
        return x.value
    if set(targets) == {1}:
        return b.op("GlobalAveragePool", [x.value])
    if all(size % target == 0 for size, target in zip(sizes, targets, strict=True)):
        kernel = [size // target for size, target in zip(sizes, targets, strict=True)]
        return b.op("AveragePool", [x.value], kernel_shape=kernel, strides=kernel)
    pairs = zip(sizes, targets, strict=True)  # windows of unequal size are a linear map of each axis
    return by_matrices(b, x, [_averaging_matrix(size, target) for size, target in pairs])


def _emit_maximum(b: GraphBuilder, layer: nn.AdaptiveMaxPool2d, x: Operand) -> OnnxValue:
    sizes = x.sample[1:]
    targets = _targets(layer.output_size, sizes)
    if layer.return_indices:
        raise ExportError("max pooling that returns indices")
    if targets == sizes:
        return x.value
    if set(targets) == {1}:
        return b.op("GlobalMaxPool", [x.value])
    if any(size % target for size, target in zip(sizes, targets, strict=True)):
        return _largest_of_windows(b, x, targets)
    kernel = [size // target for size, target in zip(sizes, targets, strict=True)]
    return b.op("MaxPool", [x.value], kernel_shape=kernel, strides=kernel)


def _averaging_matrix(size: int, target: int) -> Tensor:
    """``(target, size)`` rows that average torch's adaptive windows ``[⌊i·size/target⌋, ⌈(i+1)·size/target⌉)``."""
    matrix = torch.zeros(target, size)
    for i in range(target):
        start, stop = i * size // target, -(-(i + 1) * size // target)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


def _largest_of_windows(b: GraphBuilder, x: Operand, targets: Shape) -> OnnxValue:
    """Windows of unequal size, axis by axis: shorter ones take their last place twice."""
    value = x.value
    for axis, (size, target) in enumerate(zip(x.sample[1:], targets, strict=True), start=2):
        if size == target:
            continue
        bounds = [(i * size // target, -(-(i + 1) * size // target)) for i in range(target)]
        length = max(stop - start for start, stop in bounds)
        places = [[min(start + offset, stop - 1) for offset in range(length)] for start, stop in bounds]
        value = b.op("Gather", [value, b.constant(np.array(places, dtype=np.int64))], axis=axis)
        value = b.op("ReduceMax", [value, b.integers([axis + 1])], keepdims=False)
    return value


def _targets(output_size: int | Sequence[int | None] | None, sizes: Shape) -> Shape:
    """An adaptive layer's output size with every None filled in."""
    if isinstance(output_size, Sequence):
        return tuple(size if target is None else target for target, size in zip(output_size, sizes, strict=True))
    return sizes if output_size is None else (output_size,) * len(sizes)


# --- reading ---------------------------------------------------------------------------------------------------------


def _read(classes: ByRank) -> Read:
    """Pooling over whole images."""

    def read(node: Node) -> fx.Node:
        count = len(node.sample()) - 1
        if count not in classes:
            raise CaptureError(f"samples of {node.sample()}")
        return node.leaf(classes[count](1 if count == 1 else (1,) * count), node.tensor())

    return read


KINDS = (
    LayerKind(
        tuple(_AVERAGE.values()),
        captured={f"aten.adaptive_avg_pool{rank}d": _captured(kind, rank) for rank, kind in _AVERAGE.items()},
        shape=_shape(_AVERAGE),
        macs=None,
        treatment=SPATIAL,
        emit=_emit_average,
        read={"GlobalAveragePool": _read(_AVERAGE)},
        integers=Integers.COMPUTES,
    ),
    LayerKind(
        tuple(_MAXIMUM.values()),
        captured={f"aten.adaptive_max_pool{rank}d": _captured(kind, rank) for rank, kind in _MAXIMUM.items()},
        shape=_shape(_MAXIMUM),
        macs=None,
        treatment=SPATIAL,
        emit=_emit_maximum,
        read={"GlobalMaxPool": _read(_MAXIMUM)},
    ),
)
