"""Joining two shapes after a span was cut out: pooling for space, a 1×1 convolution for channels.

    (C, H, W) ─ average pooling ─► (C, H', W') ─ 1×1 convolution, W[i, i] = 1 ─► (C', H', W')

The convolution starts as the identity on the channels both ends have, so features pass through unmixed. Pooling is a
plain strided pool wherever one gives the size: it has an exact ONNX form and stays right at other image sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from compressor.errors import Refusal
from compressor.graph.leaf import Shape

LeafChain = list[tuple[str, nn.Module]]
"""Names and leaves, in the order they are called."""

POOLS: dict[int, type[Any]] = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
CONVOLUTIONS: dict[int, type[Any]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def repair_chain(given: Shape, wanted: Shape) -> LeafChain:
    """Leaves that turn samples of shape ``given`` into ``wanted``; empty when they are equal.

    Raises ``Refusal`` when the ranks differ or space would have to grow.
    """
    if given == wanted:
        return []
    rank = len(given) - 1
    if len(wanted) != len(given) or rank > 3:
        raise Refusal(f"no automatic repair from shape {given} to {wanted}")
    if any(have < want for have, want in zip(given[1:], wanted[1:], strict=True)):
        raise Refusal(f"no automatic repair from shape {given} to {wanted}: the span enlarges the image")
    chain: LeafChain = []
    if given[1:] != wanted[1:]:
        chain.append(("pool", pooling(given[1:], wanted[1:])))
    if given[0] != wanted[0]:
        chain.append(("project", projection(given[0], wanted[0], rank)))
    return chain


def pooling(given: Sequence[int], wanted: Sequence[int]) -> nn.Module:
    """Average pooling from one spatial size to a smaller one.

    Non-overlapping windows (rounding the size up or down) where they give the size, else the narrowest equal windows.
    """
    pool = POOLS[len(given)]
    for ceil in (False, True):
        strides = [-(-have // want) if ceil else have // want for have, want in zip(given, wanted, strict=True)]
        sizes = [-(-have // step) if ceil else have // step for have, step in zip(given, strides, strict=True)]
        if sizes == list(wanted):
            options = {"ceil_mode": True, "count_include_pad": False} if ceil else {}
            pooled: nn.Module = pool(tuple(strides), tuple(strides), **options)
            return pooled
    strides = [have // want for have, want in zip(given, wanted, strict=True)]
    windows = [have - (want - 1) * step for have, want, step in zip(given, wanted, strides, strict=True)]
    overlapping: nn.Module = pool(tuple(windows), tuple(strides))
    return overlapping


def projection(inputs: int, outputs: int, rank: int) -> nn.Module:
    """A 1×1 convolution over ``rank`` spatial dimensions (a linear layer for rank 0), the identity where it can be."""
    layer: nn.Module = (
        CONVOLUTIONS[rank](inputs, outputs, 1, bias=False) if rank else nn.Linear(inputs, outputs, bias=False)
    )
    weight = layer.get_parameter("weight")
    with torch.no_grad():
        weight.copy_(torch.eye(outputs, inputs).reshape(weight.shape))
    return layer
