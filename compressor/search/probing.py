"""The probe before the search: every arm in a process of its own, those that are finished not again, then the verdict.

Arms are independent, so they run side by side like trials. No more are handed out than can run: whatever waits would
have to be taken back when the user interrupts.
"""

from __future__ import annotations

import queue
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

from compressor.engine.candidate import Outcome
from compressor.engine.plan import Plan
from compressor.engine.space import trainings_of
from compressor.engine.trial import clear
from compressor.errors import CompressorError, MachineError, TrialError, WorkerLost
from compressor.probe.arms import ARM, SCORE, Arm, ArmScore, arms_of
from compressor.probe.result import PROBE_RESULT, ProbeResult, judge_probe
from compressor.probe.spec import ProbeSpec
from compressor.probe.tilings import REFERENCE
from compressor.search.executor import Executor, Progress, TrialSpec
from compressor.search.kept import kept
from compressor.search.observer import ArmEnded, ArmProgress, Note, Observer, ProbeEnded, ProbeStarted, Stage
from compressor.search.prepare import Prepared

ATTEMPTS = 3
"""How often an arm is run again after its process was lost."""
_POLL_SECONDS = 0.2
_Message = tuple[Arm, Future[Outcome] | None, str, float]
"""From another thread: an arm's end, or (without a future) its stage and share."""


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
        self._messages: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self._attempts: dict[Arm, int] = {}
        self._running = 0
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
        while self._waiting or self._running:
            while self._waiting and self._running < self.executor.slots:
                self._submit(self._waiting.pop(0))
            with suppress(queue.Empty):
                self._listen(self._messages.get(timeout=_POLL_SECONDS))
        if any(arm.tiling == REFERENCE and arm not in self._scores for arm in arms_of(self.spec)):
            raise TrialError(
                f"the probe's reference {REFERENCE} could not be trained; see {self.prepared.run.path}/probe"
            )
        data = self.prepared.data
        return judge_probe(self.spec, self._scores.values(), data=data.name, stand_in=data.stand_in)

    def _submit(self, arm: Arm) -> None:
        recipe, folder = self.prepared.recipe, self.prepared.run.arm(arm.name)
        clear(folder)  # of an attempt that failed
        spec = TrialSpec(
            run=str(self.prepared.run.path),
            folder=str(folder),
            plan=Plan(),
            number=0,
            seed=recipe.search.seed,
            kind="probe",
            source=ARM.dump_json(arm).decode(),
            threads=recipe.search.threads,
            timeout=recipe.search.timeout,
        )
        self._running += 1
        self.observer.notify(ArmProgress(arm.name, "start", 0.0))
        future = self.executor.submit(spec, self._reporter(arm))
        future.add_done_callback(lambda done: self._messages.put((arm, done, "", 1.0)))

    def _reporter(self, arm: Arm) -> Progress:
        return lambda stage, share: self._messages.put((arm, None, stage, share))

    def _listen(self, message: _Message) -> None:
        arm, future, stage, share = message
        if future is None:
            self.observer.notify(ArmProgress(arm.name, stage, share))
            return
        self._running -= 1
        try:
            outcome = future.result()
        except WorkerLost as error:
            if self._attempts.setdefault(arm, 0) < ATTEMPTS:
                self._attempts[arm] += 1
                self.observer.notify(Note(f"arm {arm.name} is run again: {error}"))
                self._waiting.insert(0, arm)
                return
            self._end(arm, str(error))
        except MachineError:
            raise
        except CompressorError as error:
            self._end(arm, str(error))
        else:
            self._end(arm, outcome.reason)

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
