"""What came of the searches, as rows and notes of docs/results/search.md."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

from _report import Row

from searches.grid import GRID, IMPORTANCES, QUANTIZED, RATIOS
from searches.points import Search, reached_at, volume
from searches.samplers import BY_HAND
from searches.tasks import Task

OURS = "surrogate"
ARMS = (OURS, "tpe", BY_HAND, "random", "nsga2", GRID, QUANTIZED)


def ends(searches: Sequence[Search]) -> dict[int, float]:
    """Per seed the CPU seconds after which the first arm had ended: what all have had."""
    seeds = sorted({found.seed for found in searches})
    return {seed: min(s.points[-1].cpu for s in searches if s.seed == seed and s.points) for seed in seeds}


def rows(task: Task, searches: Sequence[Search]) -> Iterator[Row]:
    """A row per arm."""
    until = ends(searches)
    for arm in ARMS:
        mine = [found for found in searches if found.arm == arm and found.points]
        if not mine:
            continue
        within, every = sum(p.within for f in mine for p in f.trained), sum(len(f.trained) for f in mine)
        shares = {
            f"hypervolume ×1000, {share:.0%} of the time": _summary(
                [1000 * volume(f, task.drop, share * until[f.seed]) for f in mine]
            )
            for share in (0.25, 0.5, 1.0)
        }
        yield {
            "network": task.title.partition(" ")[0],
            "arm": arm,
            "n": len(mine),
            **shares,
            "after all its trials": _summary([1000 * volume(f, task.drop) for f in mine]),
            "trained, within the limits": f"{within} of {every} ({within / max(every, 1):.0%})",
            "screened": sum(p.status == "screened" for f in mine for p in f.points),
            "CPU s until the first ended": _summary([f.points[0].cpu for f in mine]),
            "CPU s per trained trial": _summary([f.points[-1].cpu / max(len(f.trained), 1) for f in mine]),
        }


def notes(task: Task, searches: Sequence[Search]) -> Iterator[str]:
    """What the table does not show: the task, and per seed the surrogate beside the best other arm."""
    if searches:
        yield task.about
    until = ends(searches)
    for seed, end in until.items():
        ours = next((s for s in searches if s.seed == seed and s.arm == OURS), None)
        others = [s for s in searches if s.seed == seed and s.arm != OURS and s.points]
        if ours is not None and others:
            yield _against(task, ours, others, end)


def _against(task: Task, ours: Search, others: Sequence[Search], end: float) -> str:
    name = f"{task.title.partition(' ')[0]}, seed {ours.seed}"
    best = max(others, key=lambda found: volume(found, task.drop, end))
    wanted = volume(best, task.drop, end)
    return f"{name}: {_beside(task, ours, best, wanted, end) if wanted else NOTHING}; {_at_last(task, ours, others)}."


def _beside(task: Task, ours: Search, best: Search, wanted: float, end: float) -> str:
    ratio, share = volume(ours, task.drop, end) / wanted, reached_at(ours, task.drop, wanted) / end
    needed = sum(volume(ours, task.drop, point.cpu) < wanted for point in ours.trained) + 1
    count = f"{needed} trial{'s' if needed > 1 else ''}"
    reached = f"reached after {share:.0%} of the time and {count}" if share <= 1 else "not reached in it"
    return f"{ratio:.2f}× the hypervolume of the best other arm ({best.arm}), {reached}"


def _at_last(task: Task, ours: Search, others: Sequence[Search]) -> str:
    last = max(volume(found, task.drop) for found in others)
    if not last:
        return "nor after all their trials"
    return f"after all trials {volume(ours, task.drop, math.inf) / last:.2f}× that of the best"


NOTHING = "no other arm reached anything within the limits in that time"
GRID_NOTE = (
    f"Torch-Pruning's grid: ratios {', '.join(f'{ratio:g}' for ratio in RATIOS)}, each layer by itself or one ranking "
    f"for all, importances {', '.join(IMPORTANCES)}, in an order of the seed's; every network trained as long as a "
    "trial, with the baseline as teacher. With 8 bits each has a second file by ONNX Runtime: its dense layers "
    "dynamically for LeNet, every layer statically for ResNet-8."
)


def _summary(values: list[float]) -> str:
    return f"{statistics.mean(values):.3g} ({min(values):.3g}…{max(values):.3g})"
