"""What a search has reached, against what it had spent."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

from compressor.engine.candidate import Metrics
from compressor.search.hypervolume import hypervolume
from searches.tasks import LATENCY, SIZE

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Point:
    """One trial that ended: what had been spent by then, and what it reached."""

    cpu: float
    """CPU seconds of driver and workers since the search began."""
    status: str
    regret: float = 0.0
    size: float = 0.0
    """Logarithm of the share of the baseline's bytes."""
    time: float = 0.0
    """Logarithm of the share of the baseline's time."""
    within: bool = False


@dataclass(frozen=True)
class Search:
    arm: str
    seed: int
    points: tuple[Point, ...]
    where: str = ""
    """Packages and machine."""

    @property
    def trained(self) -> list[Point]:
        return [point for point in self.points if point.status in ("complete", "stopped")]


def point(cpu: float, metrics: Metrics, baseline: Metrics, drop: float) -> Point:
    """What was measured of a trained candidate."""
    regret = baseline.quality.validation - metrics.quality.validation
    size, speedup = metrics.size_bytes / baseline.size_bytes, metrics.latency.speedup
    within = regret <= drop and size <= SIZE and 1 / speedup <= LATENCY
    return Point(cpu, "complete", regret, math.log(size), -math.log(speedup), within)


def volume(search: Search, drop: float, until: float = math.inf) -> float:
    """Hypervolume below the limits of what had been reached after so many CPU seconds."""
    ended = [p for p in search.points if p.status == "complete" and p.within and p.cpu <= until]
    return hypervolume([(p.regret, p.size, p.time) for p in ended], (drop, math.log(SIZE), math.log(LATENCY)))


def reached_at(search: Search, drop: float, wanted: float) -> float:
    """CPU seconds after which the hypervolume was ``wanted``; infinite where it never was."""
    return next((point.cpu for point in search.points if volume(search, drop, point.cpu) >= wanted), math.inf)


def cpu_seconds() -> float:
    """Of this process, its children, and the children that those have waited for."""
    total = time.process_time()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            total += sum(map(int, fields[11:15])) / _TICKS
    return total
