"""Pooling, in exactly torch's sense of ``ceil_mode``, ``count_include_pad`` and adaptive windows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from compressor.errors import ExportError
from compressor.export.rules.pad import pad_value
from compressor.export.rules.registry import per_axis, rule, unless
from compressor.graph.leaf import OnnxValue, Shape
from compressor.graph.onnx_out.builder import GraphBuilder, Operand


def end_padding(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool) -> int:
    """Padding after the axis with which floor-mode pooling makes as many windows as torch does.

    In ceil mode torch adds a last, partial window unless it would start in the padding behind the axis. The result is
    always smaller than the reach of the kernel; ONNX Runtime wants it smaller than the kernel itself.
    """
    reach = dilation * (kernel - 1) + 1
    if not ceil:
        return padding
    windows = -(-(size + 2 * padding - reach) // stride) + 1
    if (windows - 1) * stride >= size + padding:
        windows -= 1
    return max(0, (windows - 1) * stride + reach - size - padding)


@rule(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
def max_pool(b: GraphBuilder, layer: nn.MaxPool2d, x: Operand) -> OnnxValue:
    if layer.return_indices:
        raise ExportError("max pooling that returns indices")
    kernel, stride, padding, dilation = _geometry(layer, x, layer.dilation)
    end = _ends(x.sample[1:], kernel, stride, padding, dilation, layer.ceil_mode)
    value = x.value
    if any(pad >= size for pad, size in zip([*padding, *end], kernel * 2, strict=True)):
        value = pad_value(b, value, padding, end, fill=-math.inf)
        padding = end = [0] * len(kernel)
    else:
        b.spare(value, _spare(x.sample[1:], kernel, stride, padding, end, dilation))
    return b.op(
        "MaxPool",
        [value],
        kernel_shape=kernel,
        strides=unless(stride, 1),
        dilations=unless(dilation, 1),
        pads=unless([*padding, *end], 0),
    )


@rule(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
def average_pool(b: GraphBuilder, layer: nn.AvgPool2d, x: Operand) -> OnnxValue:
    """Padding that ceil mode adds is never counted; with a divisor of its own, every window is a plain sum."""
    kernel, stride, padding, dilation = _geometry(layer, x, 1)
    end = _ends(x.sample[1:], kernel, stride, padding, dilation, layer.ceil_mode)
    divisor = getattr(layer, "divisor_override", None)
    value, counted = x.value, layer.count_include_pad or divisor is not None
    if counted and divisor is None and end != padding:
        value = pad_value(b, value, padding, padding)
        end = [max(0, e - p) for e, p in zip(end, padding, strict=True)]
        padding, counted = [0] * len(padding), False
    else:
        b.spare(value, _spare(x.sample[1:], kernel, stride, padding, end, [1] * len(kernel)))
    pads = [*padding, *end]
    value = b.op(
        "AveragePool",
        [value],
        kernel_shape=kernel,
        strides=unless(stride, 1),
        pads=unless(pads, 0),
        count_include_pad=True if counted and any(pads) else None,
    )
    return value if divisor is None else b.op("Mul", [value, b.scalar(math.prod(kernel) / divisor)])


@rule(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
def adaptive_average_pool(b: GraphBuilder, layer: nn.AdaptiveAvgPool2d, x: Operand) -> OnnxValue:
    sizes = x.sample[1:]
    targets = _targets(layer.output_size, sizes)
    if targets == sizes:
        return x.value
    if set(targets) == {1}:
        return b.op("GlobalAveragePool", [x.value])
    if all(size % target == 0 for size, target in zip(sizes, targets, strict=True)):
        kernel = [size // target for size, target in zip(sizes, targets, strict=True)]
        return b.op("AveragePool", [x.value], kernel_shape=kernel, strides=kernel)
    return _average_by_matrices(b, x, targets)


@rule(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)
def adaptive_max_pool(b: GraphBuilder, layer: nn.AdaptiveMaxPool2d, x: Operand) -> OnnxValue:
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


def averaging_matrix(size: int, target: int) -> Tensor:
    """``(target, size)`` rows that average torch's adaptive windows ``[⌊i·size/target⌋, ⌈(i+1)·size/target⌉)``."""
    matrix = torch.zeros(target, size)
    for i in range(target):
        start, stop = i * size // target, -(-(i + 1) * size // target)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


def _average_by_matrices(b: GraphBuilder, x: Operand, targets: Shape) -> OnnxValue:
    """Windows of unequal size are a linear map of each axis."""
    pairs = zip(x.sample[1:], targets, strict=True)
    return by_matrices(b, x, [averaging_matrix(size, target) for size, target in pairs])


def by_matrices(b: GraphBuilder, x: Operand, matrices: Sequence[Tensor]) -> OnnxValue:
    """A linear map of each spatial axis: one constant matrix ``(target, size)`` per axis that changes."""
    value, shape = x.value, list(x.sample)
    for axis in range(len(shape) - 1, 0, -1):
        matrix = matrices[axis - 1]
        target, size = matrix.shape
        if target == size and torch.equal(matrix, torch.eye(size)):
            continue
        if axis == len(shape) - 1:
            value = b.op("MatMul", [value, b.weight(matrix.t())])
        else:
            rest = math.prod(shape[axis + 1 :])
            value = b.reshape(value, (*shape[:axis], size, rest))
            value = b.op("MatMul", [b.weight(matrix), value])
        shape[axis] = target
        value = b.reshape(value, tuple(shape)) if axis < len(shape) - 1 else value
    return value


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


def _spare(
    sizes: Shape,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    end: Sequence[int],
    dilation: Sequence[int],
) -> list[int]:
    """Rows at the end of each axis that no window reaches."""
    rows = []
    for size, k, step, before, behind, gap in zip(sizes, kernel, stride, padding, end, dilation, strict=True):
        beyond_first = size + before - gap * (k - 1) - 1
        rows.append(beyond_first % step if behind == 0 else 0)
    return rows


def _geometry(layer: nn.MaxPool2d | nn.AvgPool2d, x: Operand, dilation: int | Sequence[int]) -> tuple[list[int], ...]:
    axes = len(x.sample) - 1
    stride = layer.kernel_size if layer.stride is None else layer.stride
    return tuple(per_axis(value, axes) for value in (layer.kernel_size, stride, layer.padding, dilation))


def _ends(
    sizes: Shape, kernel: list[int], stride: list[int], padding: list[int], dilation: list[int], ceil: bool
) -> list[int]:
    axes = zip(sizes, kernel, stride, padding, dilation, strict=True)
    return [end_padding(*axis, ceil) for axis in axes]


def _targets(output_size: int | Sequence[int | None] | None, sizes: Shape) -> Shape:
    """An adaptive layer's output size with every None filled in."""
    if isinstance(output_size, Sequence):
        return tuple(size if target is None else target for target, size in zip(output_size, sizes, strict=True))
    return sizes if output_size is None else (output_size,) * len(sizes)
