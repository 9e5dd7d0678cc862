"""How well the surrogate foretold what trained trials reached: kept in ``result.json``, so that it can be seen."""

from __future__ import annotations

import math
from collections.abc import Iterable

from compressor.engine.candidate import Metrics, Outcome
from compressor.search.ledger import Ledger
from compressor.search.result import Calibration, Foretold
from compressor.search.study import Record
from compressor.search.surrogate.answers import Scale


def calibration_of(records: Iterable[Record], ledger: Ledger, baseline: Metrics) -> Calibration | None:
    """Of all trained trials that the surrogate proposed; None where it proposed none."""
    ended = ledger.by_number()
    trials = tuple(
        _foretold(record, ended[record.number], baseline)
        for record in records
        if "forecast" in record.notes and record.number in ended and ended[record.number].status == "complete"
    )
    if not trials:
        return None
    between = sum(trial.low <= trial.reached_regret <= trial.high for trial in trials) / len(trials)
    return Calibration(trials, between, sum(trial.within for trial in trials) / len(trials))


def _foretold(record: Record, outcome: Outcome, baseline: Metrics) -> Foretold:
    forecast = record.notes["forecast"]
    assert outcome.metrics is not None, "a complete trial has figures"
    regret, size, time = Scale(baseline, 1.0).answers(outcome.metrics)
    return Foretold(
        trial=record.number,
        regret=forecast["regret"],
        low=forecast["low"],
        high=forecast["high"],
        size=math.exp(forecast["size"]),
        time=math.exp(forecast["time"]),
        reached_regret=regret,
        reached_size=math.exp(size),
        reached_time=math.exp(time),
        within=outcome.within(),
    )
