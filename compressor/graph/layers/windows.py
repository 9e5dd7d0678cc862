"""Shapes that windows make which slide over an image: the arithmetic of convolutions and pooling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from compressor.errors import GraphError
from compressor.graph.leaf import Shape

ByRank = Mapping[int, type[Any]]
"""Classes by the number of dimensions of space."""


def rank_of(layer: nn.Module, classes: ByRank) -> int:
    return next(rank for rank, kind in classes.items() if isinstance(layer, kind))


def expect(condition: bool, layer: nn.Module, shape: Shape) -> None:
    if not condition:
        raise GraphError(f"{layer} does not take samples of shape {shape}")


def per_dimension(value: int | tuple[int, ...], count: int) -> tuple[int, ...]:
    return (value,) * count if isinstance(value, int) else tuple(value)


def sliding(layer: Any, shape: Shape, channels: int, padding: tuple[int, ...], ceil: bool = False) -> Shape:
    """What windows of the layer's size, stride and dilation make of a sample with this padding on both sides."""
    rank = len(shape) - 1
    kernel = per_dimension(layer.kernel_size, rank)
    stride = per_dimension(layer.stride, rank)
    dilation = per_dimension(getattr(layer, "dilation", 1), rank)
    windows = zip(shape[1:], kernel, stride, padding, dilation, strict=True)
    result = tuple(_windows(*window, ceil) for window in windows)
    expect(min(result) > 0, layer, shape)
    return (channels, *result)


def _windows(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool) -> int:
    """How many windows fit; ``padding`` is that of one side. The last must start in the input or the left pad."""
    span = size + 2 * padding - dilation * (kernel - 1) - 1
    count = -(-span // stride) + 1 if ceil else span // stride + 1
    return count - 1 if ceil and (count - 1) * stride >= size + padding else count
