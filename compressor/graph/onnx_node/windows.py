"""Windows that slide over an image, in ONNX's way."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.graph.onnx_node.node import Node

Pads = tuple[list[int], list[int]]
"""Before and after, per dimension of space."""


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
