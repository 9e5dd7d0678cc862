"""Memory that the preparation of a run takes on a folder of JPEGs: ``python benchmarks/data_memory.py [--images N]``.

Makes N images of SIDE × SIDE in two class folders, then does what ``compressor optimize --dry-run`` does, in a process
of its own: once with an empty cache and once with the decoded images there. Reported beside what importing torch takes:
the peak of resident memory, and how much of it is the process's own (the rest is mapped files, which all processes
share and the system may take back).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

NETWORK = """
from torch import nn

def network():
    features = nn.Sequential(nn.Conv2d(3, 32, 7, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(features, nn.Linear(32, 2))
"""
RECIPE = """
[data]
folder = "images"
normalise = "dataset"
[search]
allow_untrained = true
[[phases]]
name = "smaller"
[[phases.plugins]]
name = "magnitude-prune"
"""


def make(root: Path, count: int, side: int) -> None:
    """Noise over a ramp; every file differs, in bytes and in pixels."""
    random = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(side), np.arange(side)) // 2 % 256
    bases = [np.clip(ramp[..., None] + random.normal(0, 30, (side, side, 3)), 0, 255) for _ in range(8)]
    for label in ("first", "second"):
        (root / label).mkdir(parents=True)
    for index in range(count):
        pixels = np.roll(bases[index % 8], (index % side, index // side), (0, 1)).astype(np.uint8)
        content = BytesIO()
        Image.fromarray(pixels).save(content, "JPEG", quality=70)
        (root / ("first", "second")[index % 2] / f"{index:06d}.jpg").write_bytes(content.getvalue())


class Peak:
    """The largest figures of ``/proc/self/status`` seen while it is open, in MiB."""

    def __init__(self) -> None:
        self.own = self.all = 0
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            anonymous, resident = (int(lines[key].split()[0]) >> 10 for key in ("RssAnon", "VmRSS"))
            self.own, self.all = max(self.own, anonymous), max(self.all, resident)

    def __enter__(self) -> Peak:
        self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._watcher.join()


def prepare_here() -> None:
    """In the folder that holds ``images``, ``network.py`` and ``recipe.toml``."""
    import torch  # noqa: F401

    with Peak() as before:
        time.sleep(0.1)
    with Peak() as peak:
        from compressor.cli.prepare import prepare

        started = time.perf_counter()
        found = prepare("network:network", "recipe.toml", input_shape=None)
        seconds = time.perf_counter() - started
        scored = sum(len(labels) for _, labels in found.data.train.batches(64))  # one pass, as training makes it
    print(
        f"{scored} training images; torch alone {before.all} MiB; peak {peak.all} MiB, of which {peak.own} MiB are the "
        f"process's own; {seconds:.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=30_000)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        prepare_here()
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root / "images", given.images, given.side)
        (root / "network.py").write_text(NETWORK)
        (root / "recipe.toml").write_text(RECIPE)
        environment = {**os.environ, "COMPRESSOR_DATA": str(root / "cache"), "OMP_NUM_THREADS": "1"}
        for cache in ("empty", "filled"):
            print(f"cache {cache}: ", end="", flush=True)
            subprocess.run([sys.executable, Path(__file__).resolve(), "--here"], cwd=root, env=environment, check=True)


if __name__ == "__main__":
    main()
