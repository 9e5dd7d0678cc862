"""The search itself: propose, resolve, run what was not tried before, tell.

ask → values → plan → effective edits → digest ─ tried?   → told with the earlier outcome
                                               ─ running? → waits for that one's outcome
                                               ─ new      → run in a process of its own → told
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from dataclasses import dataclass

from compressor.engine.candidate import Outcome
from compressor.engine.plan import Plan
from compressor.errors import CompressorError, MachineError, Refusal, WorkerLost
from compressor.search.clock import Clock
from compressor.search.executor import Executor, Job, TrialSpec
from compressor.search.gains import Gains, noise_of
from compressor.search.guide import guide_of
from compressor.search.interrupts import Interrupts
from compressor.search.jobs import Abandoned, Ended, Jobs, Progressed
from compressor.search.kept import kept
from compressor.search.ledger import Ledger
from compressor.search.observer import FrontChanged, Note, Observer, TrialEnded, TrialProgress, TrialStarted
from compressor.search.planning import Planner
from compressor.search.prepare import Prepared
from compressor.search.study import Proposal, Study


@dataclass(frozen=True)
class _Running:
    number: int
    digest: str
    about: str
    started: float
    untrained: bool = False


class SearchLoop:
    """Runs trials until enough are finished, proposals in a row come to nothing, or the user interrupts."""

    def __init__(
        self,
        prepared: Prepared,
        study: Study,
        ledger: Ledger,
        executor: Executor,
        observer: Observer,
        interrupts: Interrupts,
        clock: Clock,
    ) -> None:
        self._prepared, self._study, self._ledger = prepared, study, ledger
        self._observer, self._interrupts, self._clock = observer, interrupts, clock
        self._executor = executor
        self._search = prepared.recipe.search
        self._noise = noise_of(prepared.baseline.metrics)
        self._jobs: Jobs[int] = Jobs(
            executor, lambda number, why: observer.notify(Note(f"trial {number} is run again: {why}"))
        )
        self._running: dict[int, _Running] = {}
        """What is under way, by trial number."""
        self._same: defaultdict[str, list[Proposal]] = defaultdict(list)
        """Proposals that wait for a running trial with the same digest."""
        planner = Planner(
            prepared.recipe,
            executor,
            observer,
            failed=prepared.sensitivities.failed,
            cancelled=self._cancel_if_asked,
        )
        self._guide = guide_of(prepared, planner, clock, self._begins_nothing_new)
        self._owed = clock.limited and self._search.begins_untrained
        """Whether there may be a plan to carry out untrained, for which there is time even where training has none."""
        self._nothing_new = 0
        """Proposals in a row that were tried before or change nothing."""
        self._in_vain = 0
        """Proposals in a row that came to no finished trial: those, and what a limit screened out."""
        self._front: tuple[str, ...] = ()
        self._broken: MachineError | None = None
        """Why no more trials can be run here."""

    def run(self) -> None:
        """Returns when nothing runs any more. Raises ``MachineError`` where the machine failed a trial."""
        self._recover()
        self._show_front()
        while True:
            while self._wants_more():
                self._propose()
            if not self._running:
                break
            self._listen()
        if self._broken is not None:
            raise MachineError(
                f"{self._broken}; nothing is lost: go on with: compressor resume {self._prepared.run.path}"
            )
        if self._in_vain >= self._search.patience:
            self._observer.notify(Note(self._exhausted()))
        elif self._clock.limited and not self._interrupts.stop and not self._clock.allows_trial():
            self._observer.notify(Note("no time for another trial: what is left is for the final measurement"))

    # --- propose -------------------------------------------------------------------------------------------------

    def _wants_more(self) -> bool:
        trials = self._search.trials or math.inf
        return (
            not self._begins_nothing_new()
            and self._broken is None
            and len(self._running) < self._executor.slots
            and self._ledger.finished + len(self._running) < trials
            and self._in_vain < self._search.patience
        )

    def _begins_nothing_new(self) -> bool:
        in_time = self._clock.allows_trial() or (self._owed and self._clock.for_trials > 0)
        return self._interrupts.stop or not in_time

    def _exhausted(self) -> str:
        """Why no more is proposed."""
        if self._nothing_new >= self._search.patience:
            return f"space exhausted: {self._nothing_new} proposals in a row were tried before or change nothing"
        return (
            f"search ended: {self._in_vain} proposals in a row overstep a limit before training, were tried before or "
            "change nothing; [search] patience allows more"
        )

    def _propose(self) -> None:
        self._suggest()
        if self._begins_nothing_new():
            return
        proposal = self._study.ask(by_chance=self._nothing_new >= self._search.patience // 3)
        undecided = _Running(proposal.number, "", "could not be planned", time.monotonic())
        try:
            plan = self._guide.plan(proposal.values)
            plan = plan.untrained() if proposal.untrained else plan
        except Refusal as refusal:
            self._count_nothing_new()
            self._study.tell_refused(proposal.number, str(refusal), self._prepared.baseline.metrics)
            self._ledger.add_refused()
        except WorkerLost as lost:
            if self._jobs.cancelled:
                self._give_up(undecided, "cancelled")
            else:
                self._settle(undecided, Outcome("failed", reason=str(lost)))
        except CompressorError as error:  # the search goes on without this plan
            self._settle(undecided, Outcome("failed", reason=f"{type(error).__name__}: {error}"))
        else:
            self._dispatch(proposal, plan)

    def _suggest(self) -> None:
        """Queue what the guide would train next, unless something is queued."""
        if self._study.has_queued():
            return
        ended, running = self._ledger.by_digest(), {running.digest for running in self._running.values()}
        sure = self._guide.sure(ended, running) if self._owed else None
        self._owed = sure is not None
        if sure is not None:
            self._study.enqueue(sure, untrained=True)
        elif not self._begins_nothing_new() and (found := self._guide.suggest(ended, running)) is not None:
            self._study.enqueue(found.values, forecast=found.forecast.notes())

    def _dispatch(self, proposal: Proposal, plan: Plan) -> None:
        digest, about = plan.digest, plan.describe() + (", untrained" if proposal.untrained else "")
        self._study.note_candidate(proposal.number, digest, about)
        tried = self._ledger.tried(digest)
        if tried is not None:
            self._count_nothing_new()
            self._settle_same(proposal.number, digest, about, *tried)
        elif any(running.digest == digest for running in self._running.values()):
            self._count_nothing_new()
            self._same[digest].append(proposal)
        else:
            self._nothing_new = 0
            self._start(_Running(proposal.number, digest, about, time.monotonic(), proposal.untrained), plan)

    def _count_nothing_new(self) -> None:
        self._nothing_new += 1
        self._in_vain += 1

    def _start(self, running: _Running, plan: Plan) -> None:
        run = self._prepared.run
        self._observer.notify(TrialStarted(running.number, running.digest, running.about))
        outcome = self._kept(running.digest)
        if outcome is not None:  # it was finished, and the driver was killed before it could be told
            self._settle(running, outcome)
            return
        worth = self._guide.worth(plan, self._ledger.by_digest())
        spec = TrialSpec(
            plan=plan,
            number=running.number,
            seed=self._search.seed,
            rungs=Gains(self._ledger.outcomes()).rungs(self._search.rungs, worth, self._noise),
            threads=self._search.threads,
            timeout=self._search.timeout,
        )
        self._running[running.number] = running
        self._jobs.start(running.number, Job(spec), run.candidate(running.digest))

    # --- listen --------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        self._cancel_if_asked()
        match self._jobs.next():
            case Progressed(number, stage, share):
                self._observer.notify(TrialProgress(number, stage, share))
            case Ended(number, outcome):
                self._settle(self._running.pop(number), outcome)
            case Abandoned(number, reason, machine):
                self._broken = machine or self._broken
                self._give_up(self._running.pop(number), reason)
                if self._clock.is_overdue():
                    self._observer.notify(Note(f"trial {number} is ended: the budget is over; resume takes it up"))

    def _cancel_if_asked(self) -> bool:
        """Whether what runs has been, or now is, ended at once."""
        if self._interrupts.cancel or self._clock.is_overdue():
            self._jobs.cancel()
        return self._jobs.cancelled

    def _settle(self, running: _Running, outcome: Outcome) -> None:
        """Tell how a trial ended, and every proposal that waited for it."""
        seconds = round(max(time.monotonic() - running.started, sum(outcome.seconds.values())), 3)
        self._study.tell(running.number, outcome, self._prepared.baseline.metrics, seconds=seconds)
        self._ledger.add(running.number, running.digest, outcome)
        self._in_vain = self._in_vain + 1 if outcome.status == "screened" else 0
        if running.untrained:
            self._owed = True
        elif outcome.status in ("complete", "stopped"):
            self._clock.note_trial(seconds)
        finished = self._ledger.finished
        self._observer.notify(
            TrialEnded(running.number, running.digest, running.about, outcome, None, finished),
        )
        for proposal in self._same.pop(running.digest, []):
            self._settle_same(proposal.number, running.digest, running.about, running.number, outcome)
        if outcome.status == "complete":
            self._show_front()

    def _settle_same(self, number: int, digest: str, about: str, earlier: int, outcome: Outcome) -> None:
        self._study.tell(number, outcome, self._prepared.baseline.metrics, duplicate_of=earlier)
        self._ledger.add_duplicate()
        self._observer.notify(TrialEnded(number, digest, about, outcome, earlier, self._ledger.finished))

    def _show_front(self) -> None:
        front = self._ledger.front()
        digests = tuple(candidate.digest for candidate in front)
        if digests != self._front:
            self._front = digests
            self._observer.notify(FrontChanged(tuple(front)))

    # --- lost and found ------------------------------------------------------------------------------------------

    def _give_up(self, running: _Running, reason: str) -> None:
        """Queue the trial again, for when the run goes on, and every proposal that waited for it."""
        records = {record.number: record for record in self._study.records()}
        for number in (running.number, *(proposal.number for proposal in self._same.pop(running.digest, []))):
            self._study.requeue(records[number], reason)

    def _kept(self, digest: str) -> Outcome | None:
        run = self._prepared.run
        return kept(lambda: run.outcome(digest), self._observer, instead="the trial is run again")

    def _recover(self) -> None:
        """Tell or queue again what a killed driver left running; queue again what was lost since."""
        for record in self._ledger.lost:
            self._study.requeue(record, "its files were damaged")
        for record in self._study.records():
            if not record.running:
                continue
            digest, about = str(record.notes.get("digest", "")), str(record.notes.get("about", ""))
            tried = self._ledger.tried(digest) if digest else None
            outcome = self._kept(digest) if digest else None
            if tried is not None:
                self._settle_same(record.number, digest, about, *tried)
            elif outcome is not None:
                self._settle(_Running(record.number, digest, about, time.monotonic()), outcome)
            else:
                self._study.requeue(record, "its driver was ended")
