"""What had been predicted of each trial before it was trained, read back from the study for whoever looks at a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import optuna
from pydantic import TypeAdapter, ValidationError

from compressor.errors import RunFolderError
from compressor.search.storage import is_damaged, open_storage, storage_errors
from compressor.search.study import NAME
from compressor.search.surrogate.proposer import Forecast

FORECAST = "forecast"
"""The attribute of a trial of the study that holds it."""
_FORECAST: TypeAdapter[Forecast] = TypeAdapter(Forecast)


def read_forecasts(study: Path) -> Mapping[int, Forecast]:
    """By number of the trial; empty where nothing was predicted, or the study is missing or damaged."""
    try:
        if not study.is_file() or is_damaged(study):
            return {}
        with storage_errors(study):
            storage = open_storage(study)
            try:
                trials = optuna.load_study(study_name=NAME, storage=storage).get_trials(deepcopy=False)
            finally:
                storage.engine.dispose()
        known = {trial.number: trial.user_attrs.get(FORECAST) for trial in trials}
        return {number: _FORECAST.validate_python(found) for number, found in known.items() if found is not None}
    except (OSError, RunFolderError, KeyError, ValidationError):
        return {}
