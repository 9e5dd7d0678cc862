"""The Optuna study: proposals out, outcomes in. The one file that knows Optuna's words.

Screened and stopped trials are told as pruned with their positive constraints, which the samplers read like an
infeasible result; told as failed, they would teach nothing. Every told trial carries ``plan`` (≤ 0: the plan ran to its
end) beside the recipe's limits, because a trial without constraints counts as feasible.
"""

from __future__ import annotations

import importlib.util
import math
import sqlite3
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import optuna
import sqlalchemy
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from compressor.engine.candidate import Metrics, Outcome
from compressor.engine.space import Parameter, SearchSpace
from compressor.errors import RecipeError, RunFolderError
from compressor.knobs import Choice, FloatRange, IntRange, Value
from compressor.recipe.model import Objective, SearchSpec

_NAME = "compressor"
_STRIDE = 1_000_003
_CANDIDATE, _END = "candidate", "end"
PLAN = "plan"
"""The constraint every trial has: positive where the plan was refused or stopped by a gate."""


@dataclass(frozen=True)
class Proposal:
    """A trial the study has begun: its number and its values by parameter name."""

    number: int
    values: Mapping[str, Value]


@dataclass(frozen=True)
class Record:
    """A trial as the study remembers it."""

    number: int
    running: bool
    values: Mapping[str, Value]
    notes: Mapping[str, Any] = field(default_factory=dict)


class Study:
    """One study in one SQLite file. Raises ``RunFolderError`` when the file is damaged."""

    def __init__(self, file: Path, search: SearchSpec, objectives: Sequence[Objective], space: SearchSpace) -> None:
        self._search, self._objectives, self._space = search, tuple(objectives), space
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if search.sampler == "gp" and importlib.util.find_spec("scipy") is None:
            raise RecipeError("[search] sampler 'gp' needs scipy: pip install scipy, or choose another sampler")
        try:
            self._storage = _storage(file)
            self._study = optuna.create_study(
                study_name=_NAME,
                storage=self._storage,
                directions=["maximize" if name == "accuracy" else "minimize" for name in self._objectives],
                load_if_exists=True,
            )
        except sqlite3.DatabaseError as error:
            raise RunFolderError(f"{file}: the study cannot be read: {error}") from None

    def close(self) -> None:
        """Give the file back."""
        self._storage.engine.dispose()

    # --- look ----------------------------------------------------------------------------------------------------

    def records(self) -> list[Record]:
        """Every trial that was begun, in order."""
        return [
            Record(trial.number, trial.state == TrialState.RUNNING, _values(trial), _notes(trial))
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state != TrialState.WAITING
        ]

    def origins(self) -> set[str]:
        """The seeds that were queued already, by name."""
        return {str(trial.user_attrs.get("origin", "")) for trial in self._study.get_trials(deepcopy=False)}

    # --- begin ---------------------------------------------------------------------------------------------------

    def ask(self, *, by_chance: bool = False) -> Proposal:
        """The next proposal: what is queued, else what the sampler says (``by_chance``: the random sampler)."""
        begun = [r for r in self.records() if r.notes.get("status") != "interrupted"]
        seed = self._search.seed * _STRIDE + len(begun)
        self._study.sampler = _sampler("random" if by_chance else self._search.sampler, seed)
        trial = self._study.ask()
        values: dict[str, Value] = {}
        for parameter in self._space.parameters:
            if self._search.sampler == "gp" or parameter.when is None or values.get(parameter.when) is True:
                values[parameter.name] = _suggest(trial, parameter)
        return Proposal(trial.number, values)

    def enqueue(self, values: Mapping[str, Value], **notes: Any) -> None:
        """Propose these values before anything else; what they leave open the sampler fills in."""
        self._study.enqueue_trial(dict(values), user_attrs=notes)

    def note_candidate(self, number: int, digest: str, about: str) -> None:
        """Remember what a running trial turned out to do."""
        self._running(number).set_user_attr(_CANDIDATE, {"digest": digest, "about": about})

    # --- end -----------------------------------------------------------------------------------------------------

    def tell(self, number: int, outcome: Outcome, baseline: Metrics, **notes: Any) -> None:
        """How the trial ended, or the earlier trial it equals."""
        self._note_end(number, status=outcome.status, reason=outcome.reason, **notes)
        if outcome.status == "failed":
            self._study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
            return
        self._constrain(number, {PLAN: _stopped_by(outcome, baseline), **outcome.excess})
        if outcome.status == "complete" and outcome.metrics is not None:
            self._study.tell(number, _told(outcome.metrics, baseline, self._objectives), skip_if_finished=True)
        else:
            self._study.tell(number, state=TrialState.PRUNED, skip_if_finished=True)

    def tell_refused(self, number: int, reason: str) -> None:
        """The plan applies nowhere: infeasible, which is not a failure."""
        self._note_end(number, status="refused", reason=reason)
        self._constrain(number, {PLAN: 1.0})
        self._study.tell(number, state=TrialState.PRUNED, skip_if_finished=True)

    def requeue(self, record: Record, reason: str) -> None:
        """Give the trial up and propose its values again.

        The values are queued first: whatever happens in between, they are not forgotten.
        """
        origin = {key: record.notes[key] for key in ("origin",) if key in record.notes}
        self.enqueue(record.values, retry_of=record.number, **origin)
        self._note_end(record.number, status="interrupted", reason=reason)
        self._study.tell(record.number, state=TrialState.FAIL, skip_if_finished=True)

    def _note_end(self, number: int, **notes: Any) -> None:
        self._running(number).set_user_attr(_END, {key: value for key, value in notes.items() if value != ""})

    def _constrain(self, number: int, constraints: Mapping[str, float]) -> None:
        trial = self._running(number)
        known = trial.constraints
        for name, value in constraints.items():
            if name not in known:  # a driver killed between this and the tell has set it before
                trial.set_constraint(name, value)

    def _running(self, number: int) -> Trial:
        frozen = self._study.get_trials(deepcopy=False)[number]
        return Trial(self._study, frozen._trial_id)


def _storage(file: Path) -> optuna.storages.RDBStorage:
    """SQLite with a write-ahead log: readers and a killed writer do no harm."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    storage = optuna.storages.RDBStorage(f"sqlite:///{file}", engine_kwargs={"connect_args": {"timeout": 60}})

    @sqlalchemy.event.listens_for(storage.engine, "connect")
    def _(connection: sqlite3.Connection, record: object) -> None:
        # Written in order but not waited for: a power cut may take the last trials from the study, not their outcomes.
        connection.execute("PRAGMA synchronous=NORMAL")

    storage.engine.dispose()
    return storage


def _sampler(name: str, seed: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match name:
            case "random":
                return optuna.samplers.RandomSampler(seed=seed)
            case "nsga2":
                return optuna.samplers.NSGAIISampler(population_size=20, seed=seed)
            case "gp":
                return optuna.samplers.GPSampler(seed=seed)
            case _:
                return optuna.samplers.TPESampler(multivariate=True, group=True, seed=seed)


def _suggest(trial: Trial, parameter: Parameter) -> Value:
    match parameter.knob:
        case Choice(options):
            return cast(Value, trial.suggest_categorical(parameter.name, options))
        case IntRange(low, high, step, log):
            return trial.suggest_int(parameter.name, low, high - (high - low) % step, step=step, log=log)
        case FloatRange(low, high, log):
            return trial.suggest_float(parameter.name, low, high, log=log)


def _values(trial: FrozenTrial) -> dict[str, Value]:
    """What was chosen, and what was queued but not reached yet."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def _notes(trial: FrozenTrial) -> dict[str, Any]:
    """All that was remembered with a trial, in one table."""
    attributes = dict(trial.user_attrs)
    return {**attributes, **attributes.pop(_CANDIDATE, {}), **attributes.pop(_END, {})}


def _told(metrics: Metrics, baseline: Metrics, objectives: Sequence[Objective]) -> list[float]:
    numbers = {
        "accuracy": metrics.accuracy.validation,
        "size": math.log(metrics.size_bytes / baseline.size_bytes),
        "latency": -math.log(metrics.latency.speedup),
    }
    return [numbers[objective] for objective in objectives]


def _stopped_by(outcome: Outcome, baseline: Metrics) -> float:
    """The ``plan`` constraint; for a plan stopped by a gate, by how much accuracy had dropped."""
    if outcome.status != "stopped":
        return -1.0
    if outcome.metrics is None:
        return 1.0
    return max(baseline.accuracy.validation - outcome.metrics.accuracy.validation, 1e-3)
