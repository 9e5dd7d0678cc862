"""What input masks save: a stem convolution of stride 2, its activation and a global average, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.plugin import sites_of
from compressor.registry import make
from payoffs._rows import PayoffRow, measured

STEMS = ((3, 64, 128), (3, 32, 128), (3, 64, 32), (3, 16, 32), (1, 6, 28))
"""Channels, filters, image size."""
REQUIRED = {"000010000": 2.0, "101000101": 1.5, "010111010": 1.1}
"""At 3→64 on 128²."""


def rows() -> Iterator[PayoffRow]:
    for channels, filters, size in STEMS:
        network = stem(channels, filters, size)
        (site,) = sites_of(make("input-mask", {}), network)
        for mask in sorted(site.knobs["mask"].options):  # type: ignore[union-attr]
            masked = network.fork()
            apply_edit(masked, Edit("input-mask", site.path, {"mask": mask}), None)
            required = REQUIRED.get(str(mask), 0.0) if (channels, filters, size) == STEMS[0] else 0.0
            yield measured(f"input-mask {mask}, {channels}→{filters} {size}²", network, masked, required=required)

    for mask in ("000010000", "101000101"):
        network = stem(3, 64, 128, below_only=True)
        masked = network.fork()
        (site,) = sites_of(make("input-mask", {}), network)
        apply_edit(masked, Edit("input-mask", site.path, {"mask": mask}), None)
        yield measured(f"input-mask {mask}, 3→64 128², padded below", network, masked, required=1.0)


def stem(channels: int, filters: int, size: int, *, below_only: bool = False) -> Network:
    torch.manual_seed(0)
    pad = [nn.ZeroPad2d((0, 1, 0, 1))] if below_only else []
    conv = nn.Conv2d(channels, filters, 3, 2, 0 if below_only else 1)
    layers = (*pad, conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return capture(nn.Sequential(*layers), (channels, size, size))
