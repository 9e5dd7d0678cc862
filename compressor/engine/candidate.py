"""What a plan gave: the figures of a candidate, as plain data with the names of ``result.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from compressor.engine.rungs import Reached
from compressor.stored import Figure, Stored
from compressor.task import Metric, Quality, drop


@dataclass(frozen=True)
class Latency:
    """Time of one call in ONNX Runtime, microseconds, and the paired speed-up over the baseline (95 % interval)."""

    us: Figure
    speedup: Figure = 1.0
    low: Figure = 1.0
    high: Figure = 1.0


@dataclass(frozen=True)
class Metrics:
    """The figures every candidate and the baseline carry."""

    params: int
    size_bytes: int
    """Bytes of the ONNX file."""
    macs: int
    """Multiply-accumulates for one sample."""
    quality: Quality
    latency: Latency


@dataclass(frozen=True)
class Constraints:
    """Limits relative to the measured baseline; None means no limit."""

    max_drop: float | None = None
    """By how much the task's metric may be worse than the baseline's on validation data, in the metric's own scale:
    0.01 is one point where that is a share."""
    max_size: float | None = None
    """Bytes of the ONNX file as a share of the baseline's."""
    max_latency: float | None = None
    """Measured time as a share of the baseline's; overstepped where the whole 95 % interval lies beyond it."""
    max_macs: float | None = None
    max_params: float | None = None

    def excess(self, metrics: Metrics, baseline: Metrics) -> dict[str, float]:
        """By how much each limit is overstepped, in the limit's own unit; ≤ 0 means it is met."""
        shares = {
            "max_size": metrics.size_bytes / baseline.size_bytes,
            "max_latency": 1.0 / max(metrics.latency.speedup, metrics.latency.high),
            "max_macs": metrics.macs / max(baseline.macs, 1),
            "max_params": metrics.params / max(baseline.params, 1),
            "max_drop": drop(baseline.quality, metrics.quality),
        }
        limits = {name: getattr(self, name) for name in shares}
        return {name: shares[name] - limit for name, limit in limits.items() if limit is not None}


def overstepped(excess: Mapping[str, float], metric: Metric) -> str:
    """``max_size by 1.0 % of the baseline, max_drop by 2.84 points``; empty where every limit is met."""
    return ", ".join(f"{name} by {in_units(name, by, metric)}" for name, by in excess.items() if not by <= 0)


def in_units(limit: str, amount: float, metric: Metric) -> str:
    """How much of a limit, for people."""
    return metric.difference(amount) if limit == "max_drop" else f"{100 * amount:.1f} % of the baseline"


@dataclass(frozen=True)
class StageFigures:
    """Where a trial stood when one phase, or one round of it, was over."""

    phase: str
    round: int
    """Counted from 1."""
    quality: Figure
    """The task's metric on the validation split."""
    params: int
    macs: int
    """Multiply-accumulates for one sample."""
    size_bytes: int
    """Bytes of the ONNX file as it would be at this point."""
    edits: int
    """Carried out when this phase or round began."""
    epochs: int
    """Trained in this phase or round; 1 where a training function of the user's own tells of none."""
    note: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    ``complete``: it ran to the end and has metrics. ``screened``: a limit was overstepped before training, so it was
    never trained; ``excess`` says which and by how much. ``stopped``: a gate or a rung ended it. ``failed``: it could
    not be built or run; ``reason`` says why.
    """

    status: Literal["complete", "screened", "stopped", "failed"]
    metrics: Metrics | None = None
    excess: Mapping[str, Figure] = field(default_factory=dict)
    reason: str = ""
    seconds: Mapping[str, Figure] = field(default_factory=dict)
    """Wall-clock seconds by stage: build, screen, train, measure."""
    stages: tuple[StageFigures, ...] = ()
    """Figures after every phase and round, in order."""
    curve: tuple[Reached, ...] = ()
    """Where it stood after every epoch."""
    files: Mapping[str, str] = field(default_factory=dict)
    """What the trial wrote beside this, by name: SHA-256 of each file. The figures are about these bytes."""

    def within(self) -> bool:
        """Whether every limit is met; a figure that is no number meets none."""
        return all(excess <= 0 for excess in self.excess.values())


OUTCOME: Stored[Outcome] = Stored(Outcome)
METRICS: Stored[Metrics] = Stored(Metrics)
