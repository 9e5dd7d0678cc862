"""Padding in ONNX's way: per side, or by a rule for the size of the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import fx, nn

from compressor.errors import CaptureError
from compressor.graph.onnx_in.node import Node

Pads = tuple[list[int], list[int]]
"""Before and after, per dimension of space."""

_CONSTANT_PADS: dict[int, Callable[..., nn.Module]] = {1: nn.ConstantPad1d, 2: nn.ConstantPad2d, 3: nn.ConstantPad3d}
_ZERO_PADS: dict[int, Callable[..., nn.Module]] = {1: nn.ZeroPad1d, 2: nn.ZeroPad2d, 3: nn.ZeroPad3d}


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
    node: Node, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], fill: float = 0.0
) -> tuple[fx.Node, tuple[int, ...]]:
    """The input, and the padding a layer can do itself; a pad of its own goes before where the sides differ."""
    before, after = pads_of(node, kernel, strides, dilations)
    if before == after:
        return node.tensor(), tuple(before)
    return node.leaf(pad_layer(before, after, fill), node.tensor()), (0,) * len(kernel)


def pad_layer(before: Sequence[int], after: Sequence[int], fill: float) -> nn.Module:
    """A layer that pads space."""
    pads = tuple(size for pair in reversed(list(zip(before, after, strict=True))) for size in pair)
    count = len(before)
    if count not in _ZERO_PADS:
        raise CaptureError(f"padding of {count} dimensions")
    return _ZERO_PADS[count](pads) if fill == 0 else _CONSTANT_PADS[count](pads, fill)


def symmetric_pads(node: Node, count: int) -> tuple[int, ...] | None:
    """Pads that are the same on both sides; None where they differ or follow a rule."""
    if node.attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"", b"VALID"):
        return None
    pads = list(node.attributes.get("pads", [0] * 2 * count))
    return tuple(pads[:count]) if pads[:count] == pads[count:] else None
