"""The toolkit's own searches: every plugin, one sampler, one trial at a time."""

from __future__ import annotations

import shutil
from pathlib import Path

from compressor.engine.baseline import load_baseline
from compressor.engine.candidate import Metrics
from compressor.graph.pt2 import read_pt2
from compressor.search.driver import run_search
from compressor.search.observer import Event, TrialEnded
from compressor.search.run_folder import RunFolder
from searches.points import Point, Search, cpu_seconds, point
from searches.tasks import Task

BY_HAND = "tpe, plans by hand"


class Clocked:
    """Notes every trial that ends. Duplicates are what an earlier one was, and are left out."""

    def __init__(self, run: RunFolder, drop: float) -> None:
        self._run = run
        self._drop = drop
        self._baseline: Metrics | None = None
        self._start = cpu_seconds()
        self.points: list[Point] = []

    def notify(self, event: Event) -> None:
        if not isinstance(event, TrialEnded) or event.duplicate_of is not None:
            return
        if self._baseline is None:
            self._baseline = load_baseline(self._run.baseline).metrics
        spent = cpu_seconds() - self._start
        outcome = event.outcome
        if outcome.metrics is None or outcome.status == "screened":
            self.points.append(Point(spent, outcome.status))
        else:
            self.points.append(point(spent, outcome.metrics, self._baseline, self._drop))


def search(task: Task, arm: str, seed: int, trials: int, work: Path) -> Search:
    """One whole search."""
    folder = work / f"run-{arm.partition(',')[0]}{'-by-hand' if arm == BY_HAND else ''}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    recipe = task.recipe_of(arm.partition(",")[0], seed, trials, by_hand=arm == BY_HAND)
    run = RunFolder.create(folder, recipe, read_pt2(task.baseline(work)))
    watch = Clocked(run, task.drop)
    if run_search(run, observer=watch).interrupted:
        raise SystemExit(130)
    return Search(arm, seed, tuple(watch.points))
