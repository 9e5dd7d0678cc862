"""Two ONNX files from torch's own exporter, timed against each other: a network, and one of half its width.

    python examples/which_is_faster.py

``compressor bench`` may be asked from any program: ``--json`` prints the figures and nothing else.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn


def network(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 10),
    ).eval()


def exported(width: int, folder: Path) -> Path:
    file = folder / f"width-{width}.onnx"
    torch.onnx.export(network(width), (torch.zeros(1, 3, 32, 32),), file, verbose=False)
    return file


if __name__ == "__main__":
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temporary:
        files = [exported(width, Path(temporary)) for width in (64, 32)]
        bench = [sys.executable, "-m", "compressor", "bench", "--json", *map(str, files)]
        figures = json.loads(subprocess.run(bench, check=True, capture_output=True, text=True).stdout)
    for entry in figures:
        print(
            f"{Path(entry['file']).name}: {entry['us']:.0f} µs, {entry['speedup']:.2f}× "
            f"({entry['low']:.2f} to {entry['high']:.2f}), {entry['verdict']}"
        )
