"""The probe before the search: every arm in a process of its own, those that are finished not again, then the verdict.

Arms are independent, so they run side by side like trials. No more are handed out than can run: whatever waits would
have to be taken back when the user interrupts.
"""

from __future__ import annotations

from dataclasses import dataclass

from compressor.engine.plan import Plan
from compressor.engine.space import trainings_of
from compressor.errors import MachineError, TrialError
from compressor.probe.arms import ARM, SCORE, Arm, ArmScore, arms_of
from compressor.probe.result import PROBE_RESULT, ProbeResult, judge_probe
from compressor.probe.spec import ProbeSpec
from compressor.probe.tilings import REFERENCE
from compressor.search.executor import Executor, Job, TrialSpec
from compressor.search.jobs import Abandoned, Ended, Jobs, Progressed
from compressor.search.kept import kept
from compressor.search.observer import ArmEnded, ArmProgress, Note, Observer, ProbeEnded, ProbeStarted, Stage
from compressor.search.prepare import Prepared


def run_probe(prepared: Prepared, executor: Executor, observer: Observer) -> ProbeResult | None:
    """What the recipe's probe finds; None where it asks for none. Raises ``TrialError`` where ``DN`` cannot be trained.

    An interrupt loses the arms under way and no others.
    """
    spec, file = prepared.recipe.probe, prepared.run.probe
    if spec is None:
        return None
    observer.notify(Stage("probe", f"stage 1 of {1 + len(prepared.space.phases)}"))
    result = kept(lambda: PROBE_RESULT.find(file), observer, instead="its arms are judged again")
    if result is None:
        result = _Probing(prepared, spec, executor, observer).run()
        PROBE_RESULT.write(file, result)
    observer.notify(ProbeEnded(result))
    return result


@dataclass
class _Probing:
    prepared: Prepared
    spec: ProbeSpec
    executor: Executor
    observer: Observer

    def __post_init__(self) -> None:
        self._jobs: Jobs[Arm] = Jobs(
            self.executor, lambda arm, why: self.observer.notify(Note(f"arm {arm.name} is run again: {why}"))
        )
        arms = list(arms_of(self.spec))
        kept = {arm: self._kept(arm) for arm in arms}
        self._scores = {arm: score for arm, score in kept.items() if score is not None}
        self._waiting = [arm for arm in arms if arm not in self._scores]
        self._ended = len(self._scores)
        self._started = ProbeStarted(
            arms=len(arms),
            finished=self._ended,
            trials=self.prepared.recipe.search.trials,
            data=self.spec.origin(self.prepared.data.name, self.prepared.data.stand_in),
            trial_cost=trial_cost(self.prepared, self.spec),
        )

    def run(self) -> ProbeResult:
        self.observer.notify(self._started)
        while self._waiting or self._jobs:
            while self._waiting and len(self._jobs) < self.executor.slots:
                self._start(self._waiting.pop(0))
            self._listen()
        if any(arm.tiling == REFERENCE and arm not in self._scores for arm in arms_of(self.spec)):
            raise TrialError(
                f"the probe's reference {REFERENCE} could not be trained; see {self.prepared.run.path}/probe"
            )
        data = self.prepared.data
        return judge_probe(self.spec, self._scores.values(), data=data.name, stand_in=data.stand_in)

    def _start(self, arm: Arm) -> None:
        recipe = self.prepared.recipe
        spec = TrialSpec(
            plan=Plan(),
            number=0,
            seed=recipe.search.seed,
            kind="probe",
            source=ARM.dump_json(arm).decode(),
            threads=recipe.search.threads,
            timeout=recipe.search.timeout,
        )
        self.observer.notify(ArmProgress(arm.name, "start", 0.0))
        self._jobs.start(arm, Job(spec), self.prepared.run.arm(arm.name))

    def _listen(self) -> None:
        match self._jobs.next():
            case Progressed(arm, stage, share):
                self.observer.notify(ArmProgress(arm.name, stage, share))
            case Ended(arm, outcome):
                self._end(arm, outcome.reason)
            case Abandoned(reason=reason, machine=machine):
                raise machine or MachineError(reason)

    def _end(self, arm: Arm, reason: str) -> None:
        self._ended += 1
        score = self._kept(arm)
        if score is None:
            self.observer.notify(Note(f"arm {arm.name} gave nothing: {reason}"))
            self.observer.notify(ArmEnded(arm.name, "gave nothing", self._ended, self._started.arms))
            return
        self._scores[arm] = score
        figures = f"error {100 * score.error:.1f} %, loss {score.loss:.2f}"
        self.observer.notify(ArmEnded(arm.name, figures, self._ended, self._started.arms))

    def _kept(self, arm: Arm) -> ArmScore | None:
        file = self.prepared.run.arm(arm.name) / "score.json"
        score = kept(lambda: SCORE.find(file), self.observer, instead="the arm is run again")
        return score if score is not None and score.arm == arm else None


def trial_cost(prepared: Prepared, spec: ProbeSpec) -> float:
    """Samples a trial trains on when nothing ends it early, as a multiple of an arm's."""
    count = len(prepared.data.train)
    each = min(spec.limit or count, count // spec.sets)
    trainings = trainings_of(prepared.recipe.phases, prepared.recipe.training)
    epochs = sum(times * training.epochs for times, training in trainings)
    return epochs * count / max(spec.epochs * each, 1)
