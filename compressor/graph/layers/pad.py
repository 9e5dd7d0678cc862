"""Padding layers, and padding as a layer before another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import fx, nn

from compressor.errors import CaptureError
from compressor.graph.flow.treatments import SPATIAL
from compressor.graph.layers.kind import Emit, Integers, LayerKind, ShapeRule
from compressor.graph.layers.windows import ByRank, expect
from compressor.graph.leaf import OnnxValue, Shape
from compressor.graph.network import Network
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_node.windows import Pads, pads_of
from compressor.graph.onnx_out.axes import per_axis
from compressor.graph.onnx_out.builder import GraphBuilder, Operand
from compressor.graph.onnx_out.pads import pad_value, split_pads
from compressor.graph.traced.call import Call
from compressor.graph.traced.layer import Layer

_ZERO: Final[ByRank] = {1: nn.ZeroPad1d, 2: nn.ZeroPad2d, 3: nn.ZeroPad3d}
_CONSTANT: Final[ByRank] = {1: nn.ConstantPad1d, 2: nn.ConstantPad2d, 3: nn.ConstantPad3d}
_REFLECTION: Final[ByRank] = {1: nn.ReflectionPad1d, 2: nn.ReflectionPad2d, 3: nn.ReflectionPad3d}
_REPLICATION: Final[ByRank] = {1: nn.ReplicationPad1d, 2: nn.ReplicationPad2d, 3: nn.ReplicationPad3d}
_CIRCULAR: Final[ByRank] = {1: nn.CircularPad1d, 2: nn.CircularPad2d, 3: nn.CircularPad3d}
_CAPTURED_COPIES: Final = {"reflect": _REFLECTION, "replicate": _REPLICATION, "circular": _CIRCULAR}
_READ_COPIES: Final = {"reflect": _REFLECTION, "edge": _REPLICATION, "wrap": _CIRCULAR}


def _captured(call: Call) -> Layer | None:
    """Padding of space; padding of the channels, or of some dimensions only, has no module."""
    pads, mode, value = tuple(call.get("pad")), call.get("mode", "constant"), call.get("value") or 0
    dimensions = call.rank - 2
    if dimensions not in (1, 2, 3) or len(pads) > 2 * dimensions:
        return None
    if mode != "constant":
        kinds = _CAPTURED_COPIES.get(mode) if len(pads) == 2 * dimensions else None
        return None if kinds is None else Layer(kinds[dimensions](pads))
    pads += (0,) * (2 * dimensions - len(pads))
    return Layer(_ZERO[dimensions](pads) if value == 0 else _CONSTANT[dimensions](pads, value))


def _shape(layer: nn.ConstantPad2d, shape: Shape) -> Shape:
    pads = tuple(layer.padding)  # last dimension first: left, right, top, bottom, …
    expect(len(shape) == len(pads) // 2 + 1, layer, shape)
    grown = (size + pads[2 * i] + pads[2 * i + 1] for i, size in enumerate(reversed(shape[1:])))
    return (shape[0], *reversed(tuple(grown)))


def _emit(mode: str) -> Emit:
    def emit(b: GraphBuilder, layer: nn.ConstantPad2d, x: Operand) -> OnnxValue:
        axes = len(x.sample) - 1
        begin, end = split_pads(per_axis(layer.padding, 2 * axes), axes)
        return pad_value(b, x.value, begin, end, mode, float(getattr(layer, "value", 0) or 0))

    return emit


# --- reading ---------------------------------------------------------------------------------------------------------


def padded(
    node: Node,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    fill: float = 0.0,
    widest: Sequence[int] | None = None,
) -> tuple[fx.Node, tuple[int, ...]]:
    """The input of a sliding window, and the padding a layer can do itself, up to ``widest``.

    A pad of its own goes before where the sides differ.
    """
    before, after = pads_of(node, kernel, strides, dilations)
    fits = widest is None or all(pad <= most for pad, most in zip(before, widest, strict=True))
    if before == after and fits:
        return node.tensor(), tuple(before)
    return node.leaf(pad_layer(before, after, fill), node.tensor()), (0,) * len(kernel)


def pad_layer(before: Sequence[int], after: Sequence[int], fill: float) -> nn.Module:
    """A layer that pads space."""
    pads = _last_first(before, after)
    count = len(before)
    if count not in _ZERO:
        raise CaptureError(f"padding of {count} dimensions")
    layer: nn.Module = _ZERO[count](pads) if fill == 0 else _CONSTANT[count](pads, fill)
    return layer


def _last_first(before: Sequence[int], after: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for pair in reversed(list(zip(before, after, strict=True))) for size in pair)


def _read(node: Node) -> fx.Node:
    """Space is padded by a layer; channels and rows by torch's function, with numbers only."""
    before, after = _pads_per_axis(node)
    mode = node.attributes.get("mode", b"constant").decode()
    count, fill = len(node.sample()) - 1, node.number(2, "value", 0.0)
    if not any([*before, *after]):
        return node.tensor()
    if mode != "constant":
        return _copied(node, before, after, mode)
    if before[0] or after[0] or count not in (1, 2, 3):
        return node.apply(torch.ops.aten.constant_pad_nd.default, node.tensor(), list(_last_first(before, after)), fill)
    return node.leaf(pad_layer(before[1:], after[1:], fill), node.tensor())


def _copied(node: Node, before: list[int], after: list[int], mode: str) -> fx.Node:
    """Values of the image itself around it. Channels that are padded too become rows of an image of one channel."""
    sample = node.sample()
    inside = bool(before[0] or after[0] or len(sample) == 1)
    count = len(sample) - (not inside)
    if count not in (1, 2, 3) or mode not in _READ_COPIES:
        raise CaptureError(f"padding of {count} dimensions in mode {mode!r}")
    pads = _last_first(before, after) if inside else _last_first(before[1:], after[1:])
    layer = _READ_COPIES[mode][count](pads)
    if not inside:
        return node.leaf(layer, node.tensor())
    padded = node.leaf(layer, node.reshaped(node.tensor(), (1, *sample)))
    return node.reshaped(padded, Network.shape(padded)[1:])


def _pads_per_axis(node: Node) -> Pads:
    """Pads before and after every dimension of a sample."""
    rank = len(node.sample()) + 1
    axes = [axis % rank for axis in node.integers(3, "axes") or range(rank)]
    pads = node.integers(1, "pads") or []
    if len(pads) != 2 * len(axes):
        raise CaptureError(f"{len(pads)} pads for {len(axes)} dimensions")
    before, after = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        before[axis], after[axis] = pads[place], pads[place + len(axes)]
    if before[0] or after[0]:
        raise CaptureError("padding of the batch")
    return before[1:], after[1:]


def _kind(classes: ByRank, mode: str, shape: ShapeRule | None = _shape, integers: Integers | None = None) -> LayerKind:
    """What is padded with is an argument of the operators, which are the same for all kinds."""
    return LayerKind(
        tuple(classes.values()),
        captured=dict.fromkeys(("aten.pad", "aten.constant_pad_nd"), _captured),
        shape=shape,
        macs=None,
        treatment=SPATIAL,
        emit=_emit(mode),
        read={"Pad": _read},
        integers=integers,
    )


KINDS = (
    _kind(_ZERO, "constant", integers=Integers.MOVES),
    _kind(_CONSTANT, "constant"),
    _kind(_REFLECTION, "reflect"),
    _kind(_REPLICATION, "replicate"),
    _kind(_CIRCULAR, "circular", shape=None),  # more than the image has is refused by torch alone
)
