"""What pruning saves: sparse layers alone in a file, chains of convolutions with fewer channels, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.graph.capture import capture
from compressor.graph.editor import Editor
from compressor.graph.leaf import Shape
from compressor.graph.network import Network
from compressor.plugin import sites_of
from compressor.registry import make
from payoffs._rows import SAME_SPEED, PayoffRow, measured

BYTES = {0.9: 7.5}
"""Required of a layer pruned this far."""
HALF_WIDTH = 1.8
WEIGHTS = {"structure": "weights", "schedule": "constant"}


def rows() -> Iterator[PayoffRow]:
    for name, (layer, shape) in layers().items():
        network = capture(nn.Sequential(layer), shape)
        for fraction in (0.5, 0.9):
            sparse = network.fork()
            apply_edit(sparse, Edit("magnitude-prune", "all", {"fraction": fraction}, WEIGHTS), None)
            yield measured(
                f"magnitude-prune {fraction:.0%} of {name}",
                network,
                sparse,
                required=SAME_SPEED,
                required_bytes=BYTES.get(fraction, 0.0),
                layer="0",
            )
    for width in (64, 128):
        network = chain(width)
        for ratio in (0.25, 0.5, 0.75):
            name = f"magnitude-prune {width}-wide chain to {1 - ratio:.0%}"
            required = HALF_WIDTH if ratio == 0.5 else 0.0
            yield measured(name, network, narrowed(network, ratio), required=required)
    network = chain(64)
    yield measured("magnitude-prune 64-wide chain to 60", network, narrowed(network, 4 / 64, block=0))
    yield measured("magnitude-prune 64-wide chain to 40", network, narrowed(network, 24 / 64, block=0))


def layers() -> dict[str, tuple[nn.Module, Shape]]:
    """By name: a layer and the shape of its input."""
    torch.manual_seed(0)
    return {
        "Linear 784→120": (nn.Linear(784, 120), (784,)),
        "Linear 1024→1024": (nn.Linear(1024, 1024), (1024,)),
        "Conv 64→64, 28²": (nn.Conv2d(64, 64, 3, padding=1), (64, 28, 28)),
    }


def chain(width: int, depth: int = 4, size: int = 28) -> Network:
    """A stem, convolutions of one width, a head."""
    torch.manual_seed(0)
    body = [layer for _ in range(depth) for layer in (nn.Conv2d(width, width, 3, padding=1), nn.ReLU())]
    stem = (nn.Conv2d(3, width, 3, padding=1), nn.ReLU())
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
    return capture(nn.Sequential(*stem, *body, *head), (3, size, size))


def narrowed(network: Network, ratio: float, block: int = 16) -> Network:
    """Every convolution loses this share of its channels."""
    fork = network.fork()
    options = {"block": block}
    for site in sites_of(make("magnitude-prune", options), network):
        if block:
            apply_edit(fork, Edit("magnitude-prune", site.path, {"ratio": ratio}, options), None)
        else:
            _drop(fork, site.path, ratio)
    return fork


def _drop(network: Network, path: str, ratio: float) -> None:
    """To a width that the plugin would not offer, to show why."""
    width = network.shape(network.calls_of(path)[0])[0]
    editor = Editor(network)
    editor.keep_channels(path, range(round(width * (1 - ratio))))
    editor.commit()
