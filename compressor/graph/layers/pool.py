"""Pooling over windows that slide, in exactly torch's sense of ``ceil_mode`` and ``count_include_pad``."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from compressor.errors import CaptureError, ExportError
from compressor.graph.flow.treatments import SPATIAL
from compressor.graph.layers.kind import NOT_CAPTURED, NOT_READ, Capture, Integers, LayerKind
from compressor.graph.layers.pad import pad_layer, padded
from compressor.graph.layers.windows import ByRank, expect, per_dimension, rank_of, sliding
from compressor.graph.leaf import OnnxValue, Shape
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_node.windows import pads_of
from compressor.graph.onnx_out.axes import per_axis, unless
from compressor.graph.onnx_out.builder import GraphBuilder, Operand
from compressor.graph.onnx_out.pads import pad_value
from compressor.graph.traced.call import Call, spread
from compressor.graph.traced.layer import Layer

MAXIMUM: Final[ByRank] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVERAGE: Final[ByRank] = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
_AVERAGES: Final[Mapping[int, Callable[..., Tensor]]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}

# --- capture ---------------------------------------------------------------------------------------------------------


def _captured_maximum(dimensions: int) -> Capture:
    def capture(call: Call) -> Layer:
        kernel = spread(call.get("kernel_size"), dimensions)
        return Layer(
            MAXIMUM[dimensions](
                kernel,
                spread(call.get("stride") or kernel, dimensions),
                spread(call.get("padding", 0), dimensions),
                spread(call.get("dilation", 1), dimensions),
                ceil_mode=call.get("ceil_mode", False),
            )
        )

    return capture


def _captured_average(dimensions: int) -> Capture:
    def capture(call: Call) -> Layer:
        kernel = spread(call.get("kernel_size"), dimensions)
        divisor = {"divisor_override": call.get("divisor_override")} if dimensions > 1 else {}
        return Layer(
            AVERAGE[dimensions](
                kernel,
                spread(call.get("stride") or kernel, dimensions),
                spread(call.get("padding", 0), dimensions),
                call.get("ceil_mode", False),
                call.get("count_include_pad", True),
                **divisor,
            )
        )

    return capture


# --- shapes ----------------------------------------------------------------------------------------------------------


def _maximum_shape(layer: nn.MaxPool2d, shape: Shape) -> Shape:
    return _shape(layer, shape, rank_of(layer, MAXIMUM))


def _average_shape(layer: nn.AvgPool2d, shape: Shape) -> Shape:
    rank = rank_of(layer, AVERAGE)
    expect(len(shape) == rank + 1, layer, shape)
    if rank == 3:  # where torch does not count padding when it compares image and kernel
        kernel = per_dimension(layer.kernel_size, rank)
        expect(all(size >= window for size, window in zip(shape[1:], kernel, strict=True)), layer, shape)
    return _shape(layer, shape, rank)


def _shape(layer: Any, shape: Shape, rank: int) -> Shape:
    expect(len(shape) == rank + 1, layer, shape)
    return sliding(layer, shape, shape[0], per_dimension(layer.padding, rank), layer.ceil_mode)


# --- writing ---------------------------------------------------------------------------------------------------------


def _emit_maximum(b: GraphBuilder, layer: nn.MaxPool2d, x: Operand) -> OnnxValue:
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


def _emit_average(b: GraphBuilder, layer: nn.AvgPool2d, x: Operand) -> OnnxValue:
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


def _end_padding(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool) -> int:
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
    return [_end_padding(*axis, ceil) for axis in axes]


# --- reading ---------------------------------------------------------------------------------------------------------


def _window(node: Node) -> tuple[list[int], list[int], list[int], bool]:
    """Sizes, strides and dilations of the window, and whether a last one may reach beyond the image."""
    kernel = list(node.attributes["kernel_shape"])
    count = len(kernel)
    if count not in MAXIMUM or len(node.sample()) != count + 1:
        raise CaptureError(f"a window of sizes {kernel} over samples of {node.sample()}")
    strides = list(node.attributes.get("strides", [1] * count))
    dilations = list(node.attributes.get("dilations", [1] * count))
    return kernel, strides, dilations, bool(node.attributes.get("ceil_mode", 0))


def _plain_window(node: Node) -> tuple[list[int], list[int], bool]:
    kernel, strides, dilations, ceil = _window(node)
    if any(dilation != 1 for dilation in dilations):
        raise CaptureError("a dilated window")
    return kernel, strides, ceil


def _read_maximum(node: Node) -> fx.Node:
    kernel, strides, dilations, ceil = _window(node)
    if any(name in node.state.uses for name in node.outputs[1:] if name):
        raise CaptureError("its places of the maxima are used")
    value, padding = padded(node, kernel, strides, dilations, -math.inf, widest=[k // 2 for k in kernel])
    settings = (tuple(kernel), tuple(strides), padding, tuple(dilations))
    return node.leaf(MAXIMUM[len(kernel)](*settings, ceil_mode=ceil), value)


def _read_average(node: Node) -> fx.Node:
    """Where the sides differ and the padding does not count, every window is scaled by what it has too many of."""
    kernel, strides, ceil = _plain_window(node)
    counts_pads = bool(node.attributes.get("count_include_pad", 0))
    value, padding = padded(node, kernel, strides, [1] * len(kernel), widest=[k // 2 for k in kernel])
    kind = AVERAGE[len(kernel)]
    if value is node.tensor() or counts_pads:
        return node.leaf(kind(tuple(kernel), tuple(strides), padding, ceil, counts_pads), value)
    if ceil:
        raise CaptureError("windows rounded up, with padding that differs between the sides and does not count")
    before, after = pads_of(node, kernel, strides, [1] * len(kernel))
    inside = pad_layer(before, after, 0.0)(torch.ones(1, 1, *node.sample()[1:]))
    shares = _AVERAGES[len(kernel)](inside, tuple(kernel), tuple(strides))
    sums = node.leaf(kind(tuple(kernel), tuple(strides), 0), value)
    scale = node.fresh_constant(1 / shares[0], "share of the window")
    return node.apply(operator.mul, sums, node.state.operand(scale))


def _read_root(node: Node) -> fx.Node:
    """(Σ |x|^p)^(1/p) over each window; padding adds nothing to a sum."""
    kernel, strides, ceil = _plain_window(node)
    value, padding = padded(node, kernel, strides, [1] * len(kernel), widest=[k // 2 for k in kernel])
    mean = AVERAGE[len(kernel)](tuple(kernel), tuple(strides), padding, ceil, True)
    if ceil:
        raise CaptureError("windows rounded up")
    return _rooted(node, value, lambda powers: node.apply(operator.mul, node.leaf(mean, powers), math.prod(kernel)))


def _read_global_root(node: Node) -> fx.Node:
    axes = list(range(2, len(node.sample()) + 1))
    return _rooted(node, node.tensor(), lambda powers: node.apply(torch.sum, powers, axes, True))


def _rooted(node: Node, value: fx.Node, total: Callable[[fx.Node], fx.Node]) -> fx.Node:
    """The p-norm by a function that adds up."""
    order = node.attributes.get("p", 2)
    if order == 1:
        return total(node.apply(torch.abs, value))
    if order == 2:
        return node.apply(torch.sqrt, total(node.apply(torch.square, value)))
    raise CaptureError(f"a norm of order {order}")


KINDS = (
    LayerKind(
        tuple(MAXIMUM.values()),
        captured={f"aten.max_pool{rank}d": _captured_maximum(rank) for rank in MAXIMUM},
        shape=_maximum_shape,
        macs=None,
        treatment=SPATIAL,
        emit=_emit_maximum,
        read={"MaxPool": _read_maximum},
        integers=Integers.MOVES,
    ),
    LayerKind(
        tuple(AVERAGE.values()),
        captured={f"aten.avg_pool{rank}d": _captured_average(rank) for rank in AVERAGE},
        shape=_average_shape,
        macs=None,
        treatment=SPATIAL,
        emit=_emit_average,
        read={"AveragePool": _read_average, "LpPool": _read_root, "GlobalLpPool": _read_global_root},
        integers=Integers.COMPUTES,
    ),
    LayerKind(
        (nn.LPPool1d, nn.LPPool2d),
        captured=NOT_CAPTURED,
        shape=None,
        macs=None,
        treatment=SPATIAL,
        emit=None,
        read=NOT_READ,
    ),
)
