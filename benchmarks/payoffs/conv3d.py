"""What a convolution over channels saves: one layer, BatchNorm, ReLU and a global average, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.plugin import sites_of
from compressor.registry import make
from payoffs._rows import SAME_SPEED, PayoffRow, measured

LAYERS = ((64, 64, 32), (64, 128, 16), (128, 128, 16), (256, 256, 8), (32, 64, 32), (16, 32, 28))
"""Channels, outputs, image size."""
HALF_DEPTH = 1.15
"""Where u is about C/2 and C ≥ 64."""
BYTES = 48.0
"""Required there too."""


def rows() -> Iterator[PayoffRow]:
    for channels, outputs, size in LAYERS:
        for kernels in (1, 2, 4, 16):
            depth = channels - outputs // kernels + 1
            if depth < 1 or outputs % kernels:
                continue
            half = channels >= 64 and abs(depth - channels / 2) <= 2
            yield _row((channels, outputs, size), "valid", kernels, f"u={depth} s={kernels}", half=half)
    for channels, outputs, size, volumes in ((16, 32, 16, 1), (64, 64, 16, 4), (64, 64, 8, 4)):
        yield _row((channels, outputs, size), "same", volumes, f"g={volumes}")


def _row(sizes: tuple[int, int, int], mode: str, count: int, about: str, *, half: bool = False) -> PayoffRow:
    before, options = layer(*sizes), {"mode": mode, "min_bytes": 0}
    after = before.fork()
    (site,) = sites_of(make("conv3d", options), before)
    choice: dict[str, Any] = dict.fromkeys(site.knobs, count)
    apply_edit(after, Edit("conv3d", site.path, choice, options), None)
    return measured(
        f"conv3d {mode} {about}, {sizes[0]}→{sizes[1]} {sizes[2]}²",
        before,
        after,
        required=HALF_DEPTH if half else SAME_SPEED,
        required_bytes=BYTES if half else 0.0,
        layer="0",
    )


def layer(channels: int, outputs: int, size: int) -> Network:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(outputs)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    layers = (nn.Conv2d(channels, outputs, 3, 1, 1), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return capture(nn.Sequential(*layers), (channels, size, size))
