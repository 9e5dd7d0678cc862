"""What a binary layer takes and how fast it runs, alone in an ONNX file, against the float layer it replaces.

    python benchmarks/binary_layers.py

Bytes are those of the whole file. Speed-ups are paired, with their 95 % interval; above 1 the binary layer is faster.
"""

from __future__ import annotations

import torch
from _report import Cell, write_report
from compressor_plugins.binary_layers import binary_layer
from torch import nn

from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.editor import Editor
from compressor.graph.leaf import Shape
from compressor.graph.network import Network
from compressor.measure.latency import compare

LAYERS: dict[str, tuple[nn.Module, Shape]] = {
    "Linear 120→84": (nn.Linear(120, 84), (120,)),
    "Linear 784→120": (nn.Linear(784, 120), (784,)),
    "Linear 1024→1024": (nn.Linear(1024, 1024), (1024,)),
    "Conv2d 16→16 3×3, 28²": (nn.Conv2d(16, 16, 3, padding=1), (16, 28, 28)),
    "Conv2d 64→64 3×3, 28²": (nn.Conv2d(64, 64, 3, padding=1), (64, 28, 28)),
    "Conv2d 128→128 3×3, 14²": (nn.Conv2d(128, 128, 3, padding=1), (128, 14, 14)),
}


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = [
        _row(name, layer, shape, binary_input)
        for name, (layer, shape) in LAYERS.items()
        for binary_input in (False, True)
    ]
    notes = [
        "times by the paired thread-CPU protocol: three sessions of 9 to 60 rounds, 95 % interval in brackets",
        "seed 0; one layer with bias per file; the binary layer has a scale per output and a bias, both float32",
    ]
    write_report("binary_layers", "Binary layers", "python benchmarks/binary_layers.py", rows, notes)


def _row(name: str, layer: nn.Module, shape: Shape, binary_input: bool) -> dict[str, Cell]:
    network = capture(nn.Sequential(layer), shape)
    dense, packed = to_onnx(network), to_onnx(_binarized(network, binary_input))
    row: dict[str, Cell] = {
        "layer": name,
        "input": "one bit" if binary_input else "float",
        "float bytes": len(dense),
        "binary bytes": len(packed),
        "ratio": f"{len(dense) / len(packed):.1f}",
    }
    for batch in (1, 64):
        speed = compare(dense, packed, batch=batch)
        row[f"speed-up, batch {batch}"] = f"{speed.speedup:.2f} [{speed.low:.2f}, {speed.high:.2f}]"
    return row


def _binarized(network: Network, binary_input: bool) -> Network:
    fork = network.fork()
    leaf = fork.leaf("0")
    assert isinstance(leaf, nn.Linear | nn.Conv2d)
    editor = Editor(fork)
    editor.replace("0", binary_layer(leaf, binary_input=binary_input))
    editor.commit()
    return fork


if __name__ == "__main__":
    main()
