"""The history of a run: every trial, how it ended, and why."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.engine.candidate import Metrics, Outcome
from compressor.report import text
from compressor.report.gather import Trial
from compressor.report.table import Table, table

_LIMITS = {
    "max_accuracy_drop": "accuracy drop",
    "max_size": "size",
    "max_latency": "latency",
    "max_macs": "MACs",
    "max_params": "parameters",
}


def trials_table(trials: Sequence[Trial], baseline: Metrics) -> Table:
    """One row per trial, in order."""
    return table(
        "trial, ended, >validation, >smaller, >speed, >seconds, plan, why",
        [_row(trial, baseline) for trial in trials],
    )


def _row(trial: Trial, baseline: Metrics) -> tuple[str, ...]:
    outcome = trial.outcome
    number = trial.digest if trial.number is None else str(trial.number)
    seconds = f"{sum(outcome.seconds.values()):.1f}"
    return (number, outcome.status, *_figures(outcome, baseline), seconds, trial.about, why(outcome))


def _figures(outcome: Outcome, baseline: Metrics) -> tuple[str, str, str]:
    metrics = outcome.metrics
    if metrics is None:
        return (text.NONE, text.NONE, text.NONE)
    smaller = text.times(baseline.size_bytes / metrics.size_bytes)
    if outcome.status == "screened":  # never trained, and perhaps never timed
        return (text.NONE, smaller, text.NONE)
    return (text.percent(metrics.accuracy.validation), smaller, text.times(metrics.latency.speedup))


def why(outcome: Outcome) -> str:
    """The reason given, else the limits that were overstepped."""
    missed = [f"misses {_LIMITS.get(name, name)}" for name, amount in outcome.excess.items() if amount > 0]
    return outcome.reason or ", ".join(missed)
