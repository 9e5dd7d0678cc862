"""Trainings that take too long without an accelerator: arms of the papers' pages, many at a time on one device.

A lane is one process of ``paper_tables.py`` with arms that start from one another; all lanes run side by side, since a
small network keeps neither a GPU nor more than one core busy. Every arm is kept when it ends, in the folder of the
figures of ``gpu.py``; ``paper_tables.py --merge FOLDER --render`` takes them to the pages.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from gpus.part import Figures, Part, Setting

SECONDS = 420.0
"""What has not ended by then is stopped."""
BESIDE = 16
"""Lanes at once."""
PAGES = ("conv3d_meta", "vgg_redundancy", "cifar_resnet", "self_grow")
PROGRAM = Path(__file__).resolve().parents[1] / "paper_tables.py"


def lanes() -> list[tuple[str, ...]]:
    """Page, seed, budget, and which arms; the ones that matter most come first."""
    networks = [
        f"built: {family}-{kind}" for family in ("t3", "t2") for kind in ("meta", "conv3d", "meta-head", "conv2d")
    ]
    return [
        *(("conv3d_meta", "0", "full", name) for name in networks),
        *(("vgg_redundancy", str(seed), "gpu", "128²: *") for seed in range(3)),
        *(("cifar_resnet", str(seed), "gpu", "*") for seed in range(2)),
        *(("self_grow", str(seed), "gpu", "*") for seed in range(3)),
        *(("conv3d_meta", str(seed), "full", name) for seed in (1, 2) for name in networks),
    ]


def papers(setting: Setting) -> Figures:
    """Every lane, and how many arms there are in the end. A rehearsal: one lane a page, with few images."""
    waiting, running = deque(lanes()), list[subprocess.Popen[bytes]]()
    if setting.quick:
        last = {page: only for page, seed, _, only in waiting if seed == "0"}
        waiting = deque((page, "0", "rehearsal", only) for page, only in last.items())
    ends = time.monotonic() + (3600.0 if setting.quick else SECONDS)
    failed = 0
    try:
        while (waiting or running) and time.monotonic() < ends:
            while waiting and len(running) < (1 if setting.quick else BESIDE):
                running.append(_lane(waiting.popleft(), setting.folder))
            time.sleep(0.5)
            failed += sum(process.poll() not in (None, 0) for process in running)
            running = [process for process in running if process.poll() is None]
    finally:
        for process in running:
            os.killpg(process.pid, signal.SIGTERM)  # with what it started
    arms = {page: _arms(setting.folder / f"{page}.json") for page in PAGES}
    return {"arms": arms, "lanes failed": failed, "lanes stopped": len(running) + len(waiting), "ok": not failed}


def _lane(lane: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    page, seed, budget, only = lane
    words = ["--recipe", page, "--seed", seed, "--budget", budget, "--only", only, "--data", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, str(PROGRAM), *words], env=environment, start_new_session=True)


def _arms(path: Path) -> int:
    return len(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else 0


TRAININGS: dict[str, Part] = {
    "papers": Part("which arms of the papers' pages were trained?", papers, SECONDS + 20),
}
"""By name; each is left out where the time that is left would not do."""
