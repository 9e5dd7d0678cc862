"""What the surrogate foretold beside what trials reached."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from search_support import BASELINE, figures, prepared, resolved

from compressor.engine.candidate import Outcome
from compressor.recipe.model import SearchSpec
from compressor.search.calibration import calibration_of
from compressor.search.ledger import Ledger
from compressor.search.study import Record

FORECAST = {"regret": 0.02, "low": 0.01, "high": 0.03, "size": math.log(0.8), "time": 0.0}


def test_trained_proposals_are_held_against_their_forecast(tmp_path: Path) -> None:
    made = prepared(tmp_path, SearchSpec())
    ledger = Ledger(made)
    for number, count in enumerate((2, 4, 1)):
        plan = resolved(made.space.plan({"p.a": True, "p.a.count": count, "p.b": False}))
        excess = {"max_drop": 0.01 * count - 0.03}
        ledger.add(number, plan.digest, Outcome("complete", figures(plan), excess))
    records = [
        Record(0, False, {}, {"forecast": FORECAST}),
        Record(1, False, {}, {"forecast": FORECAST}),
        Record(2, False, {}),
    ]
    found = calibration_of(records, ledger, BASELINE)
    assert found is not None
    assert (found.between, found.within) == (0.5, 0.5)
    assert [trial.reached_regret for trial in found.trials] == pytest.approx([0.02, 0.04])
    assert (found.trials[0].size, found.trials[0].reached_size) == pytest.approx((0.8, 0.8))


def test_without_proposals_of_its_own_there_is_nothing_to_show(tmp_path: Path) -> None:
    assert calibration_of([Record(0, False, {})], Ledger(prepared(tmp_path, SearchSpec())), BASELINE) is None
