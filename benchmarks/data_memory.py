"""Memory that the preparation of a run takes on a folder of JPEGs: ``python benchmarks/data_memory.py [--images N]``.

Makes N images of SIDE × SIDE in two class folders, then does what ``compressor optimize --dry-run`` does and goes once
through the training images in random order, as training does, in a process of its own for each kind of source:

- ``cache empty`` and ``cache filled``: decoded into the cache, or found there;
- ``streamed``: there is room neither in memory nor on the disk, and worker processes decode every image whenever it is
  wanted;
- ``dataset``: a user's own ``Dataset``, which gives floats, read by worker processes.

Reported beside what importing torch takes: the peak of resident memory of the process and its workers together, and how
much of it is their own (the rest is mapped files, which all processes share and the system may take back).
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
from pathlib import Path
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

class Photographs(Dataset):
    def __init__(self, root):
        self.files = sorted(Path(root).glob("*/*.jpg"))
        self.targets = [int(file.parent.name == "second") for file in self.files]

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        pixels = np.asarray(Image.open(self.files[index]), dtype=np.float32) / 255
        return torch.from_numpy(pixels).permute(2, 0, 1), self.targets[index]

def data():
    return Photographs("images")

def network():
    features = nn.Sequential(nn.Conv2d(3, 32, 7, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(features, nn.Linear(32, 2))
"""
RECIPE = """
[data]
{source}
[search]
allow_untrained = true
[[phases]]
name = "smaller"
[[phases.plugins]]
name = "magnitude-prune"
"""
KINDS = {
    "cache empty": 'folder = "images"\nnormalise = "dataset"',
    "cache filled": 'folder = "images"\nnormalise = "dataset"',
    "streamed": 'folder = "images"\nnormalise = "dataset"\nmemory = 1\nworkers = {workers}',
    "dataset": 'function = "network:data"\nworkers = {workers}',
}


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
    """The largest figures of this process and those it started, seen while it is open, in MiB."""

    def __init__(self) -> None:
        self.own = self.all = 0
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            figures = [memory(process) for process in family(os.getpid())]
            self.own = max(self.own, sum(own for own, _ in figures))
            self.all = max(self.all, sum(every for _, every in figures))

    def __enter__(self) -> Peak:
        self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._watcher.join()


def family(process: int) -> list[int]:
    """A process and everything it started."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [process, *(member for child in children for member in family(int(child)))]


def memory(process: int) -> tuple[int, int]:
    """Of its own, and with its share of what it shares, in MiB; pages shared after a fork count once in all."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:  # it has just ended
        return 0, 0
    found = {line.split(":")[0]: int(line.split()[1]) >> 10 for line in lines}
    return found["Pss_Anon"] + found.get("Pss_Shmem", 0), found["Pss"]


def prepare_here() -> None:
    """In the folder that holds ``images``, ``network.py`` and ``recipe.toml``."""
    import torch

    torch.set_num_threads(1)
    with Peak() as before:
        time.sleep(0.2)
    with Peak() as peak:
        from compressor.api.prepare import set_up

        started = time.perf_counter()
        found = set_up("network:network", "recipe.toml")
        prepared = time.perf_counter() - started
        train = found.data.train
        order = torch.randperm(len(train))
        scored = sum(len(found.data.normalised(images)) for images, _ in train.batches(64, order))
        seconds = time.perf_counter() - started - prepared
    how = "held" if train.held else "read anew"
    print(
        f"{scored} training images; torch alone {before.all} MiB; peak {peak.all} MiB, of which {peak.own} MiB are the "
        f"processes' own; prepared in {prepared:.0f} s, one pass {seconds:.0f} s, {how}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=30_000)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=[])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        prepare_here()
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root / "images", given.images, given.side)
        (root / "network.py").write_text(NETWORK)
        for kind in given.kinds or KINDS:
            cache = root / ("network.py" if kind == "streamed" else "cache")  # a file: no folder can be made there
            environment = {**os.environ, "COMPRESSOR_DATA": str(cache), "OMP_NUM_THREADS": "1"}
            source = KINDS[kind].format(workers=given.workers)
            (root / "recipe.toml").write_text(RECIPE.format(source=source))
            print(f"{kind}: ", end="", flush=True)
            subprocess.run([sys.executable, Path(__file__).resolve(), "--here"], cwd=root, env=environment, check=True)


if __name__ == "__main__":
    main()
