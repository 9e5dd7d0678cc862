"""What integer weights save: one layer alone in a file, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.graph.capture import capture
from compressor.graph.leaf import Shape
from payoffs._rows import SAME_SPEED, PayoffRow, measured

BYTES = {8: 3.9, 4: 7.6}
"""Required of layers of some size; 84 outputs of 120 inputs have 672 bytes of scales and biases on 10,080 weights."""
LARGE = 30_000


def rows() -> Iterator[PayoffRow]:
    for name, (layer, shape) in layers().items():
        network = capture(nn.Sequential(layer), shape)
        for bits in (8, 4):
            packed = network.fork()
            apply_edit(packed, Edit("quantize-weights", "0", {"bits": bits}), None)
            bytes_required = BYTES[bits] if network.parameter_count >= LARGE else 0.0
            for batch in (1, 64):
                title = f"quantize-weights {bits} bits, {name}, batch {batch}"
                yield measured(
                    title, network, packed, batch=batch, required=SAME_SPEED, required_bytes=bytes_required, layer="0"
                )


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
