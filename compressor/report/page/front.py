"""The front as two plots, quality against size and speed: where each candidate lies, what it says when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from compressor.engine.candidate import Constraints, Metrics
from compressor.report import text
from compressor.report.compare import key as run_key
from compressor.report.gather import Facts
from compressor.report.page.scales import Axis, Frame, Mark, around, axis
from compressor.report.tables import finalist
from compressor.report.trials import anchor
from compressor.search.result import Candidate

FRAME = Frame(width=440, height=320, left=62, right=428, top=14, bottom=274)
PointKind = Literal["baseline", "best", "finalist", "other", "run0", "run1", "run2", "run3", "run4"]
"""The last ones are finalists of one of several runs."""
RUNS: tuple[PointKind, ...] = ("run0", "run1", "run2", "run3", "run4")


@dataclass(frozen=True)
class Point:
    """A candidate: where it lies, the row it leads to, and what it says."""

    x: float
    y: float
    kind: PointKind
    row: str
    name: str
    about: str
    figures: str
    outside: bool
    """It lies beyond the end of the axis upwards, at which it is drawn."""
    low: float | None = None
    high: float | None = None
    """Ends of the interval of what is drawn across."""


@dataclass(frozen=True)
class Plot:
    """``across`` and ``up`` say what the axes show."""

    name: str
    title: str
    caption: str
    across: str
    up: str
    points: tuple[Point, ...]
    columns: tuple[Mark, ...]
    rows: tuple[Mark, ...]
    column_limits: tuple[Mark, ...] = ()
    row_limits: tuple[Mark, ...] = ()

    @property
    def outside(self) -> bool:
        """Whether any point lies beyond the axis."""
        return any(point.outside for point in self.points)


@dataclass(frozen=True)
class _Shown:
    """A candidate before it is placed."""

    kind: PointKind
    row: str
    name: str
    about: str
    metrics: Metrics


@dataclass(frozen=True)
class _Across:
    """What a plot shows from left to right."""

    name: str
    title: str
    caption: str
    axis: str
    figure: Callable[[Metrics], float]
    label: Callable[[float], str]
    interval: bool = False


_SIZE = _Across(
    "size",
    "on validation data against the size of the ONNX file",
    "and to the left is better.",
    "size of the ONNX file",
    lambda metrics: metrics.size_bytes,
    text.size,
)
_SPEED = _Across(
    "speed",
    "on validation data against measured speed-up",
    "and to the right is better. Bars: 95 % interval of the paired ratio.",
    "speed-up over the baseline",
    lambda metrics: metrics.latency.speedup,
    lambda speed: f"{speed:.3g}×",
    interval=True,
)


def plots(facts: Facts) -> tuple[Plot, ...]:
    """Quality against bytes, and against measured speed; none where nothing was found."""
    if not facts.result.front:
        return ()
    shown, base, limits = list(_shown(facts)), facts.result.baseline.metrics, facts.limits or Constraints()
    worse = 1.0 if base.quality.direction == "lower" else -1.0
    allowed = facts.result.allowed_drop if limits.max_drop is None else limits.max_drop
    floor = None if allowed is None else _quality(base) + worse * allowed
    most = None if limits.max_size is None else limits.max_size * base.size_bytes
    least = 1 / limits.max_latency if limits.max_latency else None
    return _plot(_SIZE, shown, most, floor), _plot(_SPEED, shown, least, floor)


def comparison(runs: Mapping[str, Facts]) -> tuple[Plot, ...]:
    """The finalists of several runs in the same two plots, each leading to the row of its run."""
    shown = [
        _Shown(
            RUNS[number % len(RUNS)],
            run_key(number),
            f"{name}, trial {_name(candidate)}",
            candidate.about,
            candidate.metrics,
        )
        for number, (name, facts) in enumerate(runs.items())
        for candidate in facts.result.front
    ]
    return (_plot(_SIZE, shown), _plot(_SPEED, shown)) if shown else ()


def _plot(across: _Across, shown: Sequence[_Shown], limit: float | None = None, floor: float | None = None) -> Plot:
    """``limit`` and ``floor``: where the limits lie across and up."""
    metric = shown[0].metrics.quality.measured
    mark, good = text.marks(metric), "Down" if metric.direction == "lower" else "Up"
    ends = [end for each in shown if across.interval for end in _interval(each)]
    x = axis([*(across.figure(each.metrics) for each in shown), *ends, *_known(limit)], across.label)
    needed = [_quality(each.metrics) for each in shown if each.kind != "other"]
    others = [_quality(each.metrics) for each in shown if each.kind == "other"]
    y = axis(around([*needed, *_known(floor)], others), mark, log=False)
    return Plot(
        across.name,
        f"{metric.name[:1].upper()}{metric.name[1:]} {across.title}",
        f"{good} {across.caption}",
        across.axis,
        f"validation {metric.name}",
        tuple(_point(each, x, y, across.figure(each.metrics), across.interval) for each in shown),
        tuple(Mark(FRAME.across(x, tick.value), tick.label) for tick in x.ticks),
        tuple(Mark(FRAME.up(y, tick.value), tick.label) for tick in y.ticks),
        tuple(Mark(FRAME.across(x, value), f"limit {across.label(value)}") for value in _known(limit)),
        tuple(Mark(FRAME.up(y, value), f"limit {mark(value)}") for value in _known(floor)),
    )


def _shown(facts: Facts) -> Iterator[_Shown]:
    """What is drawn first lies below: other trials, finalists, the best, the baseline."""
    result = facts.result
    best = result.best.digest if result.best else ""
    finalists = {candidate.digest for candidate in result.front}
    for trial in facts.trials:
        metrics = trial.outcome.metrics
        if trial.outcome.status == "complete" and trial.digest not in finalists and metrics is not None:
            yield _Shown("other", anchor(trial), f"trial {trial.name}", trial.about, metrics)
    for candidate in sorted(result.front, key=lambda candidate: candidate.digest == best):
        kind: PointKind = "best" if candidate.digest == best else "finalist"
        name = f"trial {_name(candidate)}"
        about, metrics = candidate.about, candidate.metrics
        yield _Shown(kind, finalist(candidate), f"{name}, the best" if kind == "best" else name, about, metrics)
    yield _Shown("baseline", "baseline", "baseline", "unchanged", result.baseline.metrics)


def _name(candidate: Candidate) -> str:
    return candidate.digest if candidate.trial is None else str(candidate.trial)


def _point(shown: _Shown, x: Axis, y: Axis, figure: float, interval: bool) -> Point:
    metrics = shown.metrics
    low, high = _interval(shown) if interval and shown.kind != "baseline" else (None, None)
    return Point(
        FRAME.across(x, figure),
        FRAME.up(y, _quality(metrics)),
        shown.kind,
        shown.row,
        shown.name,
        shown.about,
        f"{metrics.quality.show('validation')} · {text.size(metrics.size_bytes)} · "
        f"{text.times(metrics.latency.speedup)} ({text.interval(metrics.latency.low, metrics.latency.high)})",
        not y.holds(_quality(metrics)),
        None if low is None else FRAME.across(x, low),
        None if high is None else FRAME.across(x, high),
    )


def _interval(shown: _Shown) -> tuple[float, float]:
    latency = shown.metrics.latency
    return min(latency.low, latency.speedup), max(latency.high, latency.speedup)


def _quality(metrics: Metrics) -> float:
    return float(metrics.quality.validation)


def _known(value: float | None) -> tuple[float, ...]:
    return () if value is None else (value,)
