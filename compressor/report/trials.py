"""The history of a run: every trial, how it ended, and why."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.engine.candidate import Metrics, Outcome, overstepped
from compressor.report import text
from compressor.report.gather import Facts, Trial
from compressor.report.table import Table, table
from compressor.report.tables import misses_table
from compressor.task import Metric

NEAREST = 8
"""Candidates shown where none keeps within the limits."""


def trials_table(trials: Sequence[Trial], baseline: Metrics) -> Table:
    """One row per trial, in order."""
    return table(
        "trial, ended, >validation, >smaller, >speed, >seconds, plan, why",
        [_row(trial, baseline) for trial in trials],
        keys=map(anchor, trials),
    )


def anchor(trial: Trial) -> str:
    """What the row of a trial is called, for what leads to it."""
    return f"trial-{trial.name}"


def _row(trial: Trial, baseline: Metrics) -> tuple[str, ...]:
    outcome = trial.outcome
    seconds = f"{sum(outcome.seconds.values()):.1f}"
    reason = why(outcome, baseline.quality.measured)
    return (trial.name, outcome.status, *_figures(outcome, baseline), seconds, trial.about, reason)


def _figures(outcome: Outcome, baseline: Metrics) -> tuple[str, str, str]:
    metrics = outcome.metrics
    if metrics is None:
        return (text.NONE, text.NONE, text.NONE)
    smaller = text.times(baseline.size_bytes / metrics.size_bytes)
    if outcome.status == "screened":  # never trained, and perhaps never timed
        return (text.NONE, smaller, text.NONE)
    return (metrics.quality.show("validation"), smaller, text.times(metrics.latency.speedup))


def why(outcome: Outcome, metric: Metric) -> str:
    """The reason given, else the limits that were overstepped and by how much."""
    over = overstepped(outcome.excess, metric)
    return outcome.reason or (f"misses {over}" if over else "")


def nearest_table(facts: Facts) -> Table | None:
    """Where nothing keeps within the limits: the trained candidates that came nearest; None where there are others."""
    result = facts.result
    ended = [
        (trial, trial.outcome.metrics)
        for trial in facts.trials
        if trial.outcome.status in ("complete", "stopped") and trial.outcome.metrics is not None
    ]
    if result.best is not None or not ended:
        return None
    ended.sort(key=lambda pair: sum(max(amount, 0.0) for amount in pair[0].outcome.excess.values()))
    rows = [(trial.name, trial.about, metrics, trial.outcome.excess) for trial, metrics in ended[:NEAREST]]
    return misses_table(rows, result.baseline)
