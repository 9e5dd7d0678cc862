"""What integer weights save: one layer alone in a file, in ONNX Runtime.

python benchmarks/payoff/quantize_weights.py
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from _rows import PayoffRow, measured, show
from torch import nn

from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.graph.capture import capture
from compressor.graph.leaf import Shape

LAYERS: dict[str, tuple[nn.Module, Shape]] = {
    "Linear 120→84": (nn.Linear(120, 84), (120,)),
    "Linear 784→120": (nn.Linear(784, 120), (784,)),
    "Linear 1024→1024": (nn.Linear(1024, 1024), (1024,)),
    "Conv 16→16, 28²": (nn.Conv2d(16, 16, 3, padding=1), (16, 28, 28)),
    "Conv 64→64, 28²": (nn.Conv2d(64, 64, 3, padding=1), (64, 28, 28)),
    "Conv 128→128, 14²": (nn.Conv2d(128, 128, 3, padding=1), (128, 14, 14)),
}
SAME_SPEED = 0.98


def rows() -> Iterator[PayoffRow]:
    for name, (layer, shape) in LAYERS.items():
        network = capture(nn.Sequential(layer), shape)
        for bits in (8, 4):
            packed = network.fork()
            apply_edit(packed, Edit("quantize-weights", "0", {"bits": bits}), None)
            for batch in (1, 64):
                title = f"quantize-weights {bits} bits, {name}, batch {batch}"
                yield measured(title, network, packed, batch=batch, required=SAME_SPEED)


if __name__ == "__main__":
    torch.manual_seed(0)
    show(rows())
