"""The study's file: every trial as Optuna's own tables hold it, each written as a whole in one transaction.

Optuna's storage for databases sends every parameter and every note on its own, some twenty transactions a trial and
three quarters of all the time of a search without training. The driver's study therefore lives in memory, and what has
to outlive the driver is written when it has to: a trial that is queued, begun or ended. The tables are those of
Optuna's storage, so that its dashboard, and anything else that opens a study, reads them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from compressor.search.storage import open_storage


class StudyFile:
    """One study in one SQLite file. Everything raises what SQLite and SQLAlchemy raise (see ``storage_errors``)."""

    def __init__(self, file: Path, name: str, objectives: int) -> None:
        """The study of that name; where there is none, one with so many objectives, which are minimized."""
        self._storage = open_storage(file)
        try:
            self._study = self._storage.get_study_id_from_name(name)
        except KeyError:
            self._study = self._storage.create_new_study([StudyDirection.MINIMIZE] * objectives, name)
        self.objectives = len(self._storage.get_study_directions(self._study))
        self._rows = [trial._trial_id for trial in self.trials()]
        """The row of every trial, by its number."""

    def trials(self) -> list[FrozenTrial]:
        """Every trial that was written, in order."""
        return self._storage.get_all_trials(self._study, deepcopy=False)

    def write(self, trials: Sequence[FrozenTrial]) -> None:
        """What these trials are now, instead of what they were; where something fails, none of them.

        Of those that are new, the first has the number after the last that was written, and so on.
        """
        rows = [*self._rows]
        with Session(self._storage.engine) as session, session.begin():
            for trial in trials:
                if trial.number == len(rows):
                    rows.append((session.scalar(select(func.max(models.TrialModel.trial_id))) or 0) + 1)
                _write(session, trial, self._study, rows[trial.number])
        self._rows = rows

    @property
    def count(self) -> int:
        """How many trials were written."""
        return len(self._rows)

    def close(self) -> None:
        """Give the file back."""
        self._storage.engine.dispose()


def _write(session: Session, trial: FrozenTrial, study: int, row: int) -> None:
    session.merge(
        models.TrialModel(
            trial_id=row,
            number=trial.number,
            study_id=study,
            state=trial.state,
            datetime_start=trial.datetime_start,
            datetime_complete=trial.datetime_complete,
        )
    )
    session.flush()
    for table, parts in _parts(trial):
        session.execute(delete(table).where(table.trial_id == row), execution_options={"synchronize_session": False})
        if parts:
            session.execute(insert(table), [{"trial_id": row, **part} for part in parts])


def _parts(trial: FrozenTrial) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """What is kept of a trial beside its own row, by table."""
    yield models.TrialParamModel, [_parameter(trial, name) for name in trial.params]
    yield models.TrialValueModel, [_value(number, value) for number, value in enumerate(trial.values or ())]
    yield models.TrialUserAttributeModel, _attributes(trial.user_attrs)
    yield models.TrialSystemAttributeModel, _attributes(trial.system_attrs)


def _parameter(trial: FrozenTrial, name: str) -> dict[str, Any]:
    distribution = trial.distributions[name]
    return {
        "param_name": name,
        "param_value": distribution.to_internal_repr(trial.params[name]),
        "distribution_json": distribution_to_json(distribution),
    }


def _value(objective: int, value: float) -> dict[str, Any]:
    stored, kind = models.TrialValueModel.value_to_stored_repr(value)
    return {"objective": objective, "value": stored, "value_type": kind}


def _attributes(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value_json": json.dumps(value)} for key, value in found.items()]
