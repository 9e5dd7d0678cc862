"""The search as it went: what each trial reached, the best so far, what had been predicted, where the time went."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from compressor.report import text
from compressor.report.gather import Facts, Trial
from compressor.report.page.scales import Frame, Mark, around, axis
from compressor.report.trials import anchor
from compressor.search.result import Foretold
from compressor.task import Metric, Quality

FRAME = Frame(width=440, height=372, left=62, right=428, top=12, bottom=270)
COLUMNS = 70
"""Height of the columns of time below the plot."""
STAGES = ("build", "screen", "train", "measure")


@dataclass(frozen=True)
class DrawnTrial:
    """A trial: where it lies, what it reached, where that had been predicted to lie."""

    x: float
    y: float | None
    outside: bool
    status: str
    row: str
    name: str
    about: str
    figures: str
    predicted: float | None
    low: float | None
    high: float | None
    """Ends of the interval in which two in three were predicted to lie."""
    column: float
    """Height of its column of time."""
    width: float


@dataclass(frozen=True)
class Share:
    """Part of the time of all trials. ``number`` is that of its colour."""

    name: str
    start: float
    share: float
    words: str
    number: int


@dataclass(frozen=True)
class CourseDrawing:
    """``best``: the best so far among those within the limits, as the path of a line."""

    steps: tuple[DrawnTrial, ...]
    rows: tuple[Mark, ...]
    best: str
    baseline: float
    shares: tuple[Share, ...]
    total: str
    predictions: str
    """How good they were; empty where there were none."""
    predicted: bool
    untrained: bool
    outside: bool
    """Whether there are any trials with a prediction, never trained, beyond the axis."""
    up: str


def course(facts: Facts) -> CourseDrawing | None:
    """None where no trial ended."""
    trials = facts.trials
    if not trials:
        return None
    quality = facts.result.baseline.quality
    base, metric = quality.validation, quality.measured
    reached = [_reached(trial) for trial in trials]
    calibration = facts.result.calibration
    foretold: dict[int | None, Foretold] = {each.trial: each for each in calibration.trials} if calibration else {}
    predicted = [_expected(foretold.get(trial.number), quality) for trial in trials]
    needed = [value for trial, value in zip(trials, reached, strict=True) if value and trial.outcome.within()]
    others = [value for value in reached if value is not None]
    others += [expected.middle for expected in predicted if expected is not None]
    y = axis(around([base, *needed], others), text.marks(metric), log=False)
    longest = max((trial.seconds for trial in trials), default=0.0) or 1.0
    pitch = (FRAME.right - FRAME.left) / len(trials)
    steps = tuple(
        DrawnTrial(
            x=round(FRAME.left + (number + 0.5) * pitch, 1),
            y=None if value is None else FRAME.up(y, value),
            outside=value is not None and not y.holds(value),
            status=trial.outcome.status,
            row=anchor(trial),
            name=f"trial {trial.name}",
            about=trial.about,
            figures=_figures(trial, value, expected, metric),
            predicted=None if expected is None else FRAME.up(y, expected.middle),
            low=None if expected is None else FRAME.up(y, expected.low),
            high=None if expected is None else FRAME.up(y, expected.high),
            column=round(COLUMNS * trial.seconds / longest, 1),
            width=round(min(pitch * 0.7, 24.0), 1),
        )
        for number, (trial, value, expected) in enumerate(zip(trials, reached, predicted, strict=True))
    )
    return CourseDrawing(
        steps,
        tuple(Mark(FRAME.up(y, tick.value), tick.label) for tick in y.ticks),
        _best_so_far(steps, trials, metric),
        FRAME.up(y, base),
        _shares(trials),
        text.duration(sum(trial.seconds for trial in trials)),
        _told(predicted, reached, metric),
        any(step.predicted is not None for step in steps),
        any(step.y is None for step in steps),
        any(step.outside for step in steps),
        f"validation {metric.name}",
    )


def _reached(trial: Trial) -> float | None:
    """Quality on validation data; None for what was never trained."""
    metrics = trial.outcome.metrics
    return metrics.quality.validation if metrics and trial.outcome.status in ("complete", "stopped") else None


@dataclass(frozen=True)
class _Expected:
    """Quality on validation data as it was predicted, with the bounds of two times in three."""

    middle: float
    low: float
    high: float


def _expected(known: Foretold | None, base: Quality) -> _Expected | None:
    if known is None:
        return None
    sign = 1.0 if base.direction == "lower" else -1.0
    middle, one, other = (base.validation + sign * regret for regret in (known.regret, known.low, known.high))
    return _Expected(middle, min(one, other), max(one, other))


def _told(predicted: Sequence[_Expected | None], reached: Sequence[float | None], metric: Metric) -> str:
    """How good the predictions were, in a sentence; empty where nothing was predicted and then trained."""
    pairs = [(e, v) for e, v in zip(predicted, reached, strict=True) if e is not None and v is not None]
    if not pairs:
        return ""
    held = sum(expected.low <= value <= expected.high for expected, value in pairs)
    errors = sorted(abs(expected.middle - value) for expected, value in pairs)
    return (
        f"{text.plural(len(pairs), 'prediction')}: {held} of them held what was reached between their bounds of two "
        f"times in three; the median error is {metric.difference(errors[len(errors) // 2])}."
    )


def _figures(trial: Trial, reached: float | None, expected: _Expected | None, metric: Metric) -> str:
    parts = [trial.outcome.status, "" if reached is None else metric.text(reached)]
    parts.append("" if expected is None else f"predicted {metric.text(expected.middle)}")
    return " · ".join([*filter(None, parts), text.duration(trial.seconds)])


def _best_so_far(steps: Sequence[DrawnTrial], trials: Sequence[Trial], metric: Metric) -> str:
    path, best = "", None
    up = 1.0 if metric.direction == "higher" else -1.0
    for step, trial in zip(steps, trials, strict=True):
        if step.y is not None and trial.outcome.within() and (best is None or up * step.y < up * best):
            path += f"M{step.x} {step.y}" if best is None else f"H{step.x}V{step.y}"
            best = step.y
    return f"{path}H{FRAME.right}" if path else ""


def _shares(trials: Sequence[Trial]) -> tuple[Share, ...]:
    sums: dict[str, float] = defaultdict(float)
    for trial in trials:
        for stage, seconds in trial.outcome.seconds.items():
            sums[stage if stage in STAGES else "other"] += seconds if 0 < seconds < math.inf else 0.0
    total = sum(sums.values())
    shares: list[Share] = []
    start = 0.0
    for number, name in enumerate((*STAGES, "other")):
        if sums[name] > 0:
            shares.append(Share(name, start, sums[name] / total, text.duration(sums[name]), number))
            start += sums[name] / total
    return tuple(shares)
