"""What input masks save: a stem convolution, its activation and a global average, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from compressor_plugins.input_mask.tiled_conv import TiledConv2d
from torch import nn

from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.plugin import sites_of
from compressor.registry import make
from payoffs._rows import SAME_SPEED, PayoffRow, measured

STEMS = ((3, 64, 128), (3, 32, 128), (3, 64, 32), (3, 16, 32), (1, 6, 28))
"""Channels, filters, image size."""
REQUIRED = {"000010000": 2.0, "101000101": 1.5, "010111010": 1.1}
"""At 3→64 on 128²; elsewhere no mask may be slower than the dense stem."""
TILES = ((3, 64, 128, 3), (3, 64, 32, 7), (12, 32, 32, 5), (16, 32, 32, 5))
"""Channels, filters, image size, kernel of stride 1; the last two fold with one class kept."""
TILE = {"form": "tile"}


def rows() -> Iterator[PayoffRow]:
    for channels, filters, size in STEMS:
        network = stem(channels, filters, size)
        for mask in _masks(network, {}):
            required = REQUIRED.get(mask, SAME_SPEED) if (channels, filters, size) == STEMS[0] else SAME_SPEED
            yield _row(f"{channels}→{filters} {size}²", network, mask, {}, required)
    for mask in ("000010000", "101000101"):
        yield _row("3→64 128², padded below", stem(3, 64, 128, below_only=True), mask, {}, SAME_SPEED)
    for mask in ("000010000", "101000101", "010111010"):
        yield _row("3→64 64², stride 1 → 2", stem(3, 64, 64, stride=1, pool=True), mask, {}, SAME_SPEED)
    for channels, filters, size, kernel in TILES:
        network = stem(channels, filters, size, kernel=kernel, stride=1)
        for mask in _masks(network, TILE)[::4]:
            yield _row(
                f"{channels}→{filters} {kernel}×{kernel} {size}², stride 1, tile", network, mask, TILE, SAME_SPEED
            )


def _masks(network: Network, options: dict[str, str]) -> list[str]:
    (site,) = sites_of(make("input-mask", options), network)
    return sorted(str(mask) for mask in site.knobs["mask"].options)  # type: ignore[union-attr]


def _row(about: str, network: Network, mask: str, options: dict[str, str], required: float) -> PayoffRow:
    masked = network.fork()
    (site,) = sites_of(make("input-mask", options), network)
    apply_edit(masked, Edit("input-mask", site.path, {"mask": mask}, options), None)
    if options and not isinstance(masked.leaf(site.path), TiledConv2d):  # a product more, to see what pixels are worth
        about, required = f"{about} as a product", 0.0
    return measured(f"input-mask {mask}, {about}", network, masked, required=required)


def stem(
    channels: int,
    filters: int,
    size: int,
    *,
    kernel: int = 3,
    stride: int = 2,
    below_only: bool = False,
    pool: bool = False,
) -> Network:
    torch.manual_seed(0)
    pad = [nn.ZeroPad2d((0, 1, 0, 1))] if below_only else []
    conv = nn.Conv2d(channels, filters, kernel, stride, 0 if below_only else kernel // 2)
    pools = [nn.MaxPool2d(2)] if pool else []
    layers = (*pad, conv, nn.ReLU(), *pools, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return capture(nn.Sequential(*layers), (channels, size, size))
