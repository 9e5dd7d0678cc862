"""Predictions are read back from the study, and what is missing or damaged is no prediction."""

from __future__ import annotations

from pathlib import Path

import optuna

from compressor.search.forecasts import FORECAST, read_forecasts
from compressor.search.storage import open_storage
from compressor.search.study import NAME
from compressor.search.surrogate.proposer import Forecast


def test_each_trial_has_what_was_predicted_of_it(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    assert read_forecasts(file) == {}
    storage = open_storage(file)
    study = optuna.create_study(study_name=NAME, storage=storage)
    expected = Forecast(0.01, 0.0, 0.02, -1.0, -0.1)
    study.enqueue_trial({}, user_attrs={FORECAST: expected.notes()})
    study.enqueue_trial({})
    study.ask()
    storage.engine.dispose()
    assert read_forecasts(file) == {0: expected}
    file.write_bytes(b"no database" * 1000)
    assert read_forecasts(file) == {}
