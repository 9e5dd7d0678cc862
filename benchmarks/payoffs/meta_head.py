"""What Meta layers save: a linear layer and the next; a convolution, BatchNorm, ReLU, average; in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from compressor_plugins.meta_head.layers import prelu_pays
from torch import nn

from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.plugin import sites_of
from compressor.registry import make
from payoffs._rows import SAME_SPEED, PayoffRow, measured

HEADS = (
    (2048, 40, 4, 4), (1152, 64, 16, 8), (1024, 64, 16, 8), (784, 120, 8, 4), (256, 128, 8, 4), (512, 512, 16, 4),
    (512, 512, 16, 2), (4096, 64, 16, 8), (2048, 512, 16, 4), (2048, 2048, 8, 8),
)  # fmt: skip
"""Inputs, outputs, groups, mixtures; the first three are those of T1, T2, T3."""
CONVOLUTIONS = (
    (64, 64, 32, 3, 4, 4), (64, 64, 8, 3, 4, 4), (64, 64, 32, 3, 8, 8), (128, 128, 16, 3, 8, 4),
    (256, 256, 8, 3, 16, 4),
    (512, 512, 4, 3, 16, 4), (64, 64, 32, 3, 4, 2), (32, 32, 32, 3, 4, 4), (32, 32, 32, 3, 2, 2), (16, 32, 28, 3, 4, 4),
    (256, 256, 16, 1, 8, 8), (256, 256, 16, 1, 4, 2), (128, 512, 8, 1, 8, 4), (64, 128, 16, 5, 4, 4),
)  # fmt: skip
"""Channels, outputs, image size, kernel, groups, mixtures."""


FOLLOWING = 0.9
"""Bytes follow the parameters: share of the parameters' ratio that the bytes' ratio of the layer has to reach."""


def rows() -> Iterator[PayoffRow]:
    for inputs, outputs, groups, mixed in HEADS:
        network = head(inputs, outputs)
        for activation in ("none", "prelu"):
            pays = activation == "none" or prelu_pays(inputs, outputs, groups, mixed)
            about = f"{inputs}→{outputs} G={groups} M={mixed}" + ("" if pays else " (allow_slower)")
            options = {"activation": activation, "allow_slower": not pays}
            for batch in (1, 64):
                required = SAME_SPEED if activation == "none" or (pays and batch == 1) else 0.0
                name = f"meta-head {activation} {about} batch {batch}"
                yield _row(name, network, options, groups, mixed, batch, required)
    for channels, outputs, size, kernel, groups, mixed in CONVOLUTIONS:
        name = f"meta conv {channels}→{outputs} {kernel}×{kernel} {size}² G={groups} M={mixed}"
        yield _row(name, convolution(channels, outputs, size, kernel), {}, groups, mixed, 1, SAME_SPEED)


def _row(
    name: str, before: Network, options: dict[str, Any], groups: int, mixed: int, batch: int, required: float
) -> PayoffRow:
    options = {**options, "min_bytes": 0}
    site = sites_of(make("meta-head", options), before)[0]
    choice = {knob: value for knob, value in {"groups": groups, "mixed": mixed}.items() if knob in site.knobs}
    after = before.fork()
    apply_edit(after, Edit("meta-head", site.path, choice, options), None)
    old, new = (_parameters(network.leaf(site.path)) for network in (before, after))
    following = round(FOLLOWING * old / new, 2)
    return measured(name, before, after, batch=batch, required=required, required_bytes=following, layer=site.path)


def _parameters(leaf: nn.Module) -> int:
    return sum(parameter.numel() for parameter in leaf.parameters())


def head(inputs: int, outputs: int) -> Network:
    torch.manual_seed(0)
    layers = (nn.Linear(inputs, outputs), nn.ReLU(), nn.Linear(outputs, 10))
    return capture(nn.Sequential(*layers), (inputs,))


def convolution(channels: int, outputs: int, size: int, kernel: int) -> Network:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(outputs)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    conv = nn.Conv2d(channels, outputs, kernel, 1, kernel // 2)
    return capture(nn.Sequential(conv, norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), (channels, size, size))
