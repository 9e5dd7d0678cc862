"""The pilot study before the search: every arm in a process of its own, those that are finished not again, then the
verdict.

Arms are independent, so they run side by side like trials. No more are handed out than can run: whatever waits would
have to be taken back when the user interrupts.
"""

from __future__ import annotations

from dataclasses import dataclass

from compressor.engine.plan import Plan
from compressor.engine.space import trainings_of
from compressor.errors import MachineError, TrialError
from compressor.pilot import ArmResult, Judgement
from compressor.recipe.model import PilotSpec
from compressor.registry import PILOTS
from compressor.search.arms import ARM, judged, outline
from compressor.search.executor import Executor, Job, TrialSpec
from compressor.search.jobs import Abandoned, Ended, Jobs, Progressed
from compressor.search.kept import kept
from compressor.search.observer import ArmEnded, ArmProgress, Note, Observer, PilotEnded, PilotStarted, Stage
from compressor.search.prepare import Prepared
from compressor.search.result import PILOT, PilotResult


def run_pilot(prepared: Prepared, executor: Executor, observer: Observer) -> PilotResult | None:
    """What the recipe's pilot study finds; None where it asks for none. Raises ``TrialError`` where it cannot tell.

    An interrupt loses the arms under way and no others.
    """
    spec, file = prepared.recipe.pilot, prepared.run.pilot
    if spec is None:
        return None
    observer.notify(Stage("pilot", f"stage 1 of {1 + len(prepared.space.phases)}"))
    result = kept(lambda: PILOT.find(file), observer, instead="its arms are judged again")
    if result is None:
        result = _Piloting(prepared, spec, executor, observer).run()
        PILOT.write(file, result)
    observer.notify(PilotEnded(result))
    return result


@dataclass
class _Piloting:
    prepared: Prepared
    spec: PilotSpec
    executor: Executor
    observer: Observer

    def __post_init__(self) -> None:
        self._jobs: Jobs[str] = Jobs(
            self.executor, lambda arm, why: self.observer.notify(Note(f"arm {arm} is run again: {why}"))
        )
        self._outline = outline(self.prepared.recipe, self.spec, self.prepared.data)
        kept = {arm: self._kept(arm) for arm in self._outline.arms}
        self._results = {arm: result for arm, result in kept.items() if result is not None}
        self._waiting = [arm for arm in self._outline.arms if arm not in self._results]
        self._ended = len(self._results)
        self._started = PilotStarted(
            name=self.spec.name,
            arms=len(self._outline.arms),
            finished=self._ended,
            trials=self.prepared.recipe.search.trials,
            data=self._outline.data,
            trial_cost=trial_cost(self.prepared, self._outline.samples),
        )

    def run(self) -> PilotResult:
        self.observer.notify(self._started)
        while self._waiting or self._jobs:
            while self._waiting and len(self._jobs) < self.executor.slots:
                self._start(self._waiting.pop(0))
            self._listen()
        judgement = self._judged()
        return PilotResult(
            name=self.spec.name,
            applies=judgement.applies,
            reason=judgement.reason,
            data=self._outline.data,
            arms=len(self._results),
            seconds=round(sum(result.seconds for result in self._results.values()), 1),
            found=judgement.found,
        )

    def _judged(self) -> Judgement:
        results = {arm: self._results[arm] for arm in self._outline.arms if arm in self._results}
        try:
            return judged(self.prepared.recipe, self.spec, results, self.prepared.data)
        except TrialError as error:
            raise TrialError(f"{PILOTS.titled(self.spec.name)}: {error}; see {self.prepared.run.path}/pilot") from None

    def _start(self, arm: str) -> None:
        recipe = self.prepared.recipe
        spec = TrialSpec(
            plan=Plan(),
            number=0,
            seed=recipe.search.seed,
            kind="arm",
            source=arm,
            threads=recipe.search.threads,
            timeout=recipe.search.timeout,
        )
        self.observer.notify(ArmProgress(arm, "start", 0.0))
        self._jobs.start(arm, Job(spec), self.prepared.run.arm(arm))

    def _listen(self) -> None:
        match self._jobs.next():
            case Progressed(arm, stage, share):
                self.observer.notify(ArmProgress(arm, stage, share))
            case Ended(arm, outcome):
                self._end(arm, outcome.reason)
            case Abandoned(reason=reason, machine=machine):
                raise machine or MachineError(reason)

    def _end(self, arm: str, reason: str) -> None:
        self._ended += 1
        result = self._kept(arm)
        if result is None:
            self.observer.notify(Note(f"arm {arm} gave nothing: {reason}"))
            self.observer.notify(ArmEnded(arm, "gave nothing", self._ended, self._started.arms))
            return
        self._results[arm] = result
        self.observer.notify(ArmEnded(arm, result.about, self._ended, self._started.arms))

    def _kept(self, arm: str) -> ArmResult | None:
        file = self.prepared.run.arm(arm) / "arm.json"
        return kept(lambda: ARM.find(file), self.observer, instead="the arm is run again")


def trial_cost(prepared: Prepared, samples: int) -> float:
    """Samples a trial trains on when nothing ends it early, as a multiple of an arm's."""
    trainings = trainings_of(prepared.recipe.phases, prepared.recipe.training)
    epochs = sum(times * training.epochs for times, training in trainings)
    return epochs * len(prepared.data.train) / max(samples, 1)
