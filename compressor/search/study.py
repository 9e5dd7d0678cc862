"""The Optuna study: proposals out, outcomes in. The one file that knows Optuna's words.

Screened, stopped and refused trials are told as complete with positive constraints: that is the one form of an
infeasible result that every sampler reads (NSGA-II and GP pass over pruned trials, and told as failed they would teach
nothing). What was never measured of them is the baseline's: a plan that changes nothing is the baseline, and what a
limit stops before training is near it. Every told trial carries the same constraints in the same order, ``plan`` (≤ 0:
the plan ran to its end) and the recipe's limits: GP needs equally many, and a trial without any counts as feasible.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
)
from optuna.samplers import BaseSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial, Trial, TrialState

from compressor.engine.candidate import Metrics, Outcome
from compressor.engine.space import Parameter, SearchSpace
from compressor.errors import RunFolderError
from compressor.knobs import Choice, FloatRange, IntRange, Knob, Value
from compressor.recipe.model import Recipe, Sampler
from compressor.search.front import objective_values
from compressor.search.memory import Memory
from compressor.search.storage import is_damaged, set_aside, storage_errors
from compressor.search.study_file import StudyFile
from compressor.task import drop

_NAME = "compressor"
_STRIDE, _SEEDS = 1_000_003, 1 << 32
_FLAT: Final[frozenset[Sampler]] = frozenset({"nsga2", "gp"})
"""Samplers that combine only parameters that every trial has: they choose all of them, those switched off too."""
_SHOWN: Final = 128
"""How many of the trials that have ended TPE is shown: every proposal takes it 0.1 ms of each."""
_CANDIDATE, _END = "candidate", "end"
UNTRAINED = "untrained"
PLAN = "plan"
"""The constraint every trial has: positive where the plan was refused or stopped by a gate."""


@dataclass(frozen=True)
class Proposal:
    """A trial the study has begun: its number and its values by parameter name."""

    number: int
    values: Mapping[str, Value]
    untrained: bool = False
    """Its plan is to be carried out without training."""


@dataclass(frozen=True)
class Record:
    """A trial as the study remembers it."""

    number: int
    running: bool
    values: Mapping[str, Value]
    notes: Mapping[str, Any] = field(default_factory=dict)


class Study:
    """One study: in memory, and in one SQLite file as far as it has to outlive this process.

    A damaged file is set aside: what its trials gave lies in their own folders.
    """

    def __init__(self, file: Path, recipe: Recipe, space: SearchSpace) -> None:
        self._path, self._search, self._space = file, recipe.search, space
        self._objectives = recipe.objectives
        self._constraints = (PLAN, *(name for name, limit in asdict(recipe.constraints).items() if limit is not None))
        self._open: dict[int, Trial] = {}
        """Trials of this session that have not ended, so that none has to be looked up."""
        self.set_aside: Path | None = set_aside(file) if is_damaged(file) else None
        """Where a damaged study was moved to."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self.errors():
            self._file = StudyFile(file, _NAME, len(self._objectives))
            written = self._file.trials()
        if self._file.objectives != len(self._objectives):
            raise RunFolderError(
                f"{file}: was begun with {self._file.objectives} objectives, the recipe has "
                f"{len(self._objectives)}; put recipe.toml back, or start a new run"
            )
        self._memory = Memory()
        self._study = optuna.create_study(
            study_name=_NAME, storage=self._memory, directions=["minimize" for _ in self._objectives]
        )
        self._study.add_trials(written)
        for trial in written:
            self._memory.note_ended(trial)
        self._offered: dict[str, BaseDistribution] = {
            name: distribution for trial in written for name, distribution in trial.distributions.items()
        }
        """What every parameter was chosen from in an earlier session."""
        self._shared = IntersectionSearchSpace()
        """The parameters that all trials have; kept, since a sampler lives for one proposal and would read them all."""
        self._begun = sum(record.notes.get("status") != "interrupted" for record in self.records())
        """Trials that were begun, but for those begun again: it seeds the sampler, so that runs can be resumed."""
        self._queued = sum(trial.state == TrialState.WAITING for trial in written)

    def errors(self) -> AbstractContextManager[None]:
        """While entered, what the storage raises is ``OSError`` or ``RunFolderError``."""
        return storage_errors(self._path)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    # --- look ----------------------------------------------------------------------------------------------------

    def records(self) -> list[Record]:
        """Every trial that was begun, in order."""
        return [
            Record(trial.number, trial.state == TrialState.RUNNING, _values(trial), _notes(trial))
            for trial in self._trials()
            if trial.state != TrialState.WAITING
        ]

    def origins(self) -> set[str]:
        """The seeds that were queued already, by name."""
        return {str(trial.user_attrs.get("origin", "")) for trial in self._trials()}

    def has_queued(self) -> bool:
        """Whether something is proposed before the sampler is asked."""
        return self._queued > 0

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    # --- begin ---------------------------------------------------------------------------------------------------

    def ask(self, *, by_chance: bool = False) -> Proposal:
        """The next proposal: what is queued, else what the sampler says (``by_chance``: the random sampler)."""
        seed = (self._search.seed * _STRIDE + self._begun) % _SEEDS
        self._study.sampler = _sampler("random" if by_chance else self._search.sampler, seed, self._shared)
        with self._memory.showing(self._study._study_id, _SHOWN) if self._search.sampler == "tpe" else nullcontext():
            trial = self._study.ask()
            self._open[trial.number] = trial
            self._begun, self._queued = self._begun + 1, max(self._queued - 1, 0)
            return Proposal(trial.number, self._values(trial), untrained=bool(trial.user_attrs.get(UNTRAINED)))

    def _values(self, trial: Trial) -> dict[str, Value]:
        """What the sampler chooses for every parameter that counts."""
        values: dict[str, Value] = {}
        for parameter in self._space.parameters:
            if self._search.sampler in _FLAT or parameter.when is None or values.get(parameter.when) is True:
                values[parameter.name] = self._suggest(trial, parameter)
        return values

    def _suggest(self, trial: Trial, parameter: Parameter) -> Value:
        name, now = parameter.name, _distribution(parameter.knob)
        try:
            check_distribution_compatibility(self._offered.setdefault(name, now), now)
        except ValueError as error:  # a categorical parameter may not change within a study
            raise RunFolderError(
                f"{self._path}: {name} does not offer what it did when the run began ({error}); put recipe, "
                "plugins and sensitivities.json back as they were, or start a new run"
            ) from None
        return _suggest(trial, name, now)

    def enqueue(self, values: Mapping[str, Value], **notes: Any) -> None:
        """Propose these values before anything else; what they leave open the sampler fills in."""
        self._study.enqueue_trial(dict(values), user_attrs=notes)
        self._queued += 1
        self._write(len(self._trials()) - 1)

    def note_candidate(self, number: int, digest: str, about: str) -> None:
        """Remember what a running trial turned out to do."""
        self._running(number).set_user_attr(_CANDIDATE, {"digest": digest, "about": about})
        self._write(number)

    # --- end -----------------------------------------------------------------------------------------------------

    def tell(self, number: int, outcome: Outcome, baseline: Metrics, **notes: Any) -> None:
        """How the trial ended, or the earlier trial it equals."""
        self._note_end(number, status=outcome.status, reason=outcome.reason, **notes)
        if outcome.status == "failed":
            self._end(number, state=TrialState.FAIL)
        else:
            constraints = {PLAN: _stopped_by(outcome, baseline), **outcome.excess}
            self._tell_values(number, outcome.metrics or baseline, baseline, constraints)

    def tell_refused(self, number: int, reason: str, baseline: Metrics) -> None:
        """The plan applies nowhere: infeasible, which is not a failure."""
        self._note_end(number, status="refused", reason=reason)
        self._tell_values(number, baseline, baseline, {PLAN: 1.0})

    def requeue(self, record: Record, reason: str) -> None:
        """Give the trial up and propose its values again.

        The values are queued first: whatever happens in between, they are not forgotten.
        """
        origin = {key: record.notes[key] for key in ("origin", UNTRAINED) if key in record.notes}
        self.enqueue(record.values, retry_of=record.number, **origin)
        if record.running:
            self._note_end(record.number, status="interrupted", reason=reason)
            self._end(record.number, state=TrialState.FAIL)
            self._begun -= 1

    def _tell_values(self, number: int, metrics: Metrics, baseline: Metrics, constraints: Mapping[str, float]) -> None:
        self._constrain(number, constraints)
        values = objective_values(metrics, baseline, self._objectives)
        self._end(number, list(values))

    def _end(self, number: int, values: list[float] | None = None, state: TrialState | None = None) -> None:
        self._study.tell(number, values, state=state, skip_if_finished=True)
        self._write(number)
        self._memory.note_ended(self._trials()[number])
        self._open.pop(number, None)

    def _note_end(self, number: int, **notes: Any) -> None:
        self._running(number).set_user_attr(_END, {key: value for key, value in notes.items() if value != ""})

    def _write(self, number: int) -> None:
        """Put a trial on disk, and whatever comes before it and is not there yet."""
        trials = self._trials()
        self._file.write([*trials[self._file.count : number], trials[number]])

    def _constrain(self, number: int, constraints: Mapping[str, float]) -> None:
        """Every constraint a trial of this study can have, always in the same order; one that nobody measured is 0."""
        trial = self._running(number)
        known = trial.constraints
        for name in self._constraints:
            if name not in known:  # a driver killed between this and the tell has set it before
                value = constraints.get(name, 0.0)
                trial.set_constraint(name, value if math.isfinite(value) else 1.0)

    def _running(self, number: int) -> Trial:
        if number not in self._open:  # begun by an earlier session
            frozen = self._trials()[number]
            self._open[number] = Trial(self._study, frozen._trial_id)
        return self._open[number]


class _Sharing(BaseSampler):
    """Of a sampler that combines parameters: it is told which ones all trials have, but for those without a choice."""

    shared: IntersectionSearchSpace

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {name: each for name, each in self.shared.calculate(study).items() if not each.single()}


class _Nsga2(_Sharing, optuna.samplers.NSGAIISampler):
    def select_parent(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """In the order of their numbers, as Optuna returns them from its cache: a resumed study has none."""
        return sorted(super().select_parent(study, generation), key=lambda trial: trial.number)


class _Gp(_Sharing, optuna.samplers.GPSampler):
    pass


def _sampler(name: str, seed: int, shared: IntersectionSearchSpace) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match name:
            case "random":
                return optuna.samplers.RandomSampler(seed=seed)
            case "nsga2":
                sampler: _Nsga2 | _Gp = _Nsga2(population_size=20, seed=seed)
            case "gp":
                sampler = _Gp(seed=seed)
            case _:
                return optuna.samplers.TPESampler(multivariate=True, group=True, seed=seed)
    sampler.shared = shared
    return sampler


def _distribution(knob: Knob) -> BaseDistribution:
    match knob:
        case Choice(options):
            return CategoricalDistribution(options)
        case IntRange(low, high, step, log):
            return IntDistribution(low, high - (high - low) % step, log, step)
        case FloatRange(low, high, log):
            return FloatDistribution(low, high, log)


def _suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Value:
    match distribution:
        case IntDistribution():
            low, high = distribution.low, distribution.high
            return trial.suggest_int(name, low, high, step=distribution.step, log=distribution.log)
        case FloatDistribution():
            return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
        case CategoricalDistribution():
            return cast(Value, trial.suggest_categorical(name, distribution.choices))
        case _:
            raise TypeError(distribution)


def _values(trial: FrozenTrial) -> dict[str, Value]:
    """What was chosen, and what was queued but not reached yet."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def _notes(trial: FrozenTrial) -> dict[str, Any]:
    """All that was remembered with a trial, in one table."""
    attributes = dict(trial.user_attrs)
    return {**attributes, **attributes.pop(_CANDIDATE, {}), **attributes.pop(_END, {})}


def _stopped_by(outcome: Outcome, baseline: Metrics) -> float:
    """The ``plan`` constraint; for a plan stopped by a gate, by how much quality had dropped."""
    if outcome.status != "stopped":
        return -1.0
    if outcome.metrics is None:
        return 1.0
    return max(drop(baseline.quality, outcome.metrics.quality), 1e-3)
