"""What cutting out each span saves, one at a time, and what one convolution in place of two does, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from compressor_plugins.layer_removal.compose import composed
from torch import nn

from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.leaf import Shape
from compressor.graph.network import Network
from compressor.models import build
from compressor.plugin import Site, sites_of
from compressor.registry import make
from compressor.testing.networks import random_evidence
from payoffs._rows import PayoffRow, measured

Convolution = tuple[int, int, int, int]
"""Inputs, outputs, kernel, stride."""
NETWORKS: dict[str, Shape] = {"lenet": (1, 28, 28), "resnet8": (3, 32, 32), "vgg16-s0-quarter": (3, 128, 128)}
COMPOSED: tuple[tuple[Convolution, Convolution, int], ...] = (
    ((3, 64, 3, 1), (64, 64, 3, 1), 32),
    ((3, 32, 3, 1), (32, 16, 3, 1), 32),
    ((32, 32, 3, 1), (32, 16, 3, 2), 14),
    ((16, 64, 3, 1), (64, 32, 3, 1), 14),
    ((8, 64, 3, 1), (64, 32, 3, 2), 28),
    ((3, 16, 3, 1), (16, 16, 1, 1), 14),
    ((24, 32, 3, 1), (32, 32, 3, 1), 28),
    ((64, 16, 3, 1), (16, 16, 1, 1), 14),
    ((32, 32, 3, 1), (32, 32, 3, 1), 28),
    ((32, 64, 3, 2), (64, 32, 3, 1), 14),
)
"""Two convolutions with a ReLU between, and the size of the image."""
FASTER = 1.0
"""Required of every layer that is removed, and of every pair that the plugin offers to compose."""


def rows() -> Iterator[PayoffRow]:
    for name, shape in NETWORKS.items():
        torch.manual_seed(0)
        network = capture(build(name), shape)
        for site in sites_of(make("layer-removal", {}), network):
            shorter = removed(network, site)
            way = site.about.rpartition(": ")[2].partition(" or ")[0]
            yield measured(f"layer-removal {name} {site.path}, {way}", network, shorter, required=FASTER)
    for pair in COMPOSED:
        network, joined = one_and_two(*pair)
        share = network_cost(joined).mac_count / network_cost(network).mac_count
        (site, *_) = sites_of(make("layer-removal", {"repair": "compose"}), network)
        offered = site.about.partition(": ")[2].startswith("compose")
        label = f"layer-removal {_named(*pair)}, MACs × {share:.2f}{'' if offered else ', not offered'}"
        yield measured(label, network, joined, required=FASTER if offered else 0.0)


def removed(network: Network, site: Site) -> Network:
    """With this span alone cut out; what a fitted map weighs and takes does not depend on what it was fitted to."""
    shorter = network.fork()
    apply_edit(shorter, Edit("layer-removal", site.path), random_evidence(network, batches=1, size=16))
    return shorter


def one_and_two(first: Convolution, second: Convolution, size: int) -> tuple[Network, Network]:
    """The two convolutions, and one in their place, whether or not the plugin would."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(a, b, kernel, stride, kernel // 2) for a, b, kernel, stride in (first, second)]
    head = (nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(second[1], 10))
    shape = (first[0], size, size)
    two = capture(nn.Sequential(layers[0], nn.ReLU(), layers[1], *head), shape)
    return two, capture(nn.Sequential(composed(layers[0], layers[1]), *head), shape)


def _named(first: Convolution, second: Convolution, size: int) -> str:
    arrows = [f"{a}→{b} {k}×{k}{f'/{s}' if s > 1 else ''}" for a, b, k, s in (first, second)]
    return f"{' and '.join(arrows)} on {size}² as one"
