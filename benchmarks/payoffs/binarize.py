"""What one-bit weights and one-bit activations save: single layers, and convolutions in a row, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.graph.capture import capture
from compressor.graph.leaf import Shape
from compressor.graph.network import Network
from compressor.plugin import sites_of
from compressor.registry import make
from payoffs._rows import SAME_SPEED, PayoffRow, measured

LAYER_BYTES = 28.0
LARGE = 10_000
"""Weights from which on that ratio is required. Scale and bias are 8 bytes per output, so that K one-bit weights per
output come to (4K + 4) / (K/8 + 8), which is 28 from K = 440 on: a linear layer 120→84 of 10,080 weights cannot get
beyond 21, and misses it.
"""
FAST_PRODUCT, FAST_CHAIN = 2.8, 3.0
"""Required of every linear layer at batch 64, and of every chain, also where comparing and scaling take as long as the
product: below some 30,000 weights, and below 64 channels."""
POOLED = 64
"""Channels of the chain that is also measured with a pooling."""
CHAINS = ((32, 28, 1), (64, 32, 1), (128, 16, 1), (64, 16, 8))
"""Channels, image size, batch."""


def rows() -> Iterator[PayoffRow]:
    for name, (layer, shape) in layers().items():
        network = capture(nn.Sequential(layer), shape)
        linear = isinstance(layer, nn.Linear)
        for batch in (1, 64 if linear else 16):
            yield _weights(name, network, batch)
            yield _activations(name, network, batch, linear)
    for channels, size, batch in CHAINS:
        for pooling in (False, True) if channels == POOLED and batch == 1 else (False,):
            network = chain(channels, size, pooling)
            title = f"binarize four layers{' with a pooling' * pooling}, {channels} channels, {size}², batch {batch}"
            yield measured(title, network, binarized(network, "binary"), batch=batch, required=FAST_CHAIN)


def _weights(name: str, network: Network, batch: int) -> PayoffRow:
    large = network.leaf("0").get_parameter("weight").numel() >= LARGE
    return measured(
        f"binarize weights, {name}, batch {batch}",
        network,
        binarized(network, "float"),
        batch=batch,
        required=SAME_SPEED,
        required_bytes=LAYER_BYTES if large else 0.0,
        layer="0",
    )


def _activations(name: str, network: Network, batch: int, linear: bool) -> PayoffRow:
    """With the BatchNorms that binary activations need, before and behind; the float layer has none.

    A convolution alone may not be slower for one image; for many, its parts' floats leave the cache.
    """
    required = 0.0 if batch > 1 else SAME_SPEED
    if linear:
        required = FAST_PRODUCT if batch > 1 else 0.0
    title = f"binarize activations too, {name}, batch {batch}"
    return measured(title, network, binarized(network, "binary"), batch=batch, required=required, layer="0")


def binarized(network: Network, activations: str) -> Network:
    """Every layer of a fork."""
    options = {"activations": activations, "first_activations": True}
    fork = network.fork()
    for site in sites_of(make("binarize", options), network):
        apply_edit(fork, Edit("binarize", site.path, {}, options), None)
    return fork


def chain(channels: int, size: int, pooling: bool) -> Network:
    """Four 3×3 convolutions with BatchNorm and ReLU, and a 1×1 convolution to ten classes."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for place in range(4):
        layers += [nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] * (pooling and place == 1)
    layers += [nn.Conv2d(channels, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return capture(nn.Sequential(*layers), (channels, size, size))


def layers() -> dict[str, tuple[nn.Module, Shape]]:
    """By name: a layer and the shape of its input."""
    torch.manual_seed(0)
    return {
        "Linear 120→84": (nn.Linear(120, 84), (120,)),
        "Linear 784→120": (nn.Linear(784, 120), (784,)),
        "Linear 1024→1024": (nn.Linear(1024, 1024), (1024,)),
        "Conv 16→16, 28²": (nn.Conv2d(16, 16, 3, padding=1), (16, 28, 28)),
        "Conv 64→64, 28²": (nn.Conv2d(64, 64, 3, padding=1), (64, 28, 28)),
        "Conv 128→128, 14²": (nn.Conv2d(128, 128, 3, padding=1), (128, 14, 14)),
    }
