"""Padding in ONNX's way: per side, or by a rule for the size of the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import fx, nn

from compressor.errors import CaptureError
from compressor.graph.network import Network
from compressor.graph.onnx_node.node import Node, rule

Pads = tuple[list[int], list[int]]
"""Before and after, per dimension of space."""

_CONSTANT_PADS: dict[int, Callable[..., nn.Module]] = {1: nn.ConstantPad1d, 2: nn.ConstantPad2d, 3: nn.ConstantPad3d}
_ZERO_PADS: dict[int, Callable[..., nn.Module]] = {1: nn.ZeroPad1d, 2: nn.ZeroPad2d, 3: nn.ZeroPad3d}
_COPYING_PADS: dict[str, dict[int, Callable[..., nn.Module]]] = {
    "reflect": {1: nn.ReflectionPad1d, 2: nn.ReflectionPad2d, 3: nn.ReflectionPad3d},
    "edge": {1: nn.ReplicationPad1d, 2: nn.ReplicationPad2d, 3: nn.ReplicationPad3d},
    "wrap": {1: nn.CircularPad1d, 2: nn.CircularPad2d, 3: nn.CircularPad3d},
}


def pads_of(node: Node, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Pads:
    """Pads of a sliding window, ``auto_pad`` worked out."""
    count = len(kernel)
    mode = node.attributes.get("auto_pad", b"NOTSET")
    if mode in (b"NOTSET", b""):
        pads = list(node.attributes.get("pads", [0] * 2 * count))
        return pads[:count], pads[count:]
    if mode == b"VALID":
        return [0] * count, [0] * count
    before, after = [], []
    for size, width, stride, dilation in zip(node.sample()[1:], kernel, strides, dilations, strict=True):
        total = max((-(-size // stride) - 1) * stride + dilation * (width - 1) + 1 - size, 0)
        small, large = total // 2, total - total // 2
        before.append(small if mode == b"SAME_UPPER" else large)
        after.append(large if mode == b"SAME_UPPER" else small)
    return before, after


def padded(
    node: Node,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    fill: float = 0.0,
    widest: Sequence[int] | None = None,
) -> tuple[fx.Node, tuple[int, ...]]:
    """The input, and the padding a layer can do itself, up to ``widest``.

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
    if count not in _ZERO_PADS:
        raise CaptureError(f"padding of {count} dimensions")
    return _ZERO_PADS[count](pads) if fill == 0 else _CONSTANT_PADS[count](pads, fill)


def _last_first(before: Sequence[int], after: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for pair in reversed(list(zip(before, after, strict=True))) for size in pair)


@rule("Pad")
def pad(node: Node) -> fx.Node:
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
    if count not in (1, 2, 3) or mode not in _COPYING_PADS:
        raise CaptureError(f"padding of {count} dimensions in mode {mode!r}")
    pads = _last_first(before, after) if inside else _last_first(before[1:], after[1:])
    layer = _COPYING_PADS[mode][count](pads)
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
