"""The search itself: propose, resolve, run what was not tried before, tell.

ask → values → plan → effective edits → digest ─ tried?   → told with the earlier outcome
                                               ─ running? → waits for that one's outcome
                                               ─ new      → run in a process of its own → told
"""

from __future__ import annotations

import queue
import time
from collections import defaultdict
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from pathlib import Path

from compressor.engine.candidate import Outcome
from compressor.engine.plan import Plan
from compressor.engine.trial import clear
from compressor.errors import (
    CompressorError,
    ForeignError,
    GraphError,
    MachineError,
    NoAnswer,
    Refusal,
    TrialError,
    WorkerLost,
)
from compressor.search.executor import Executor, Progress, Question, TrialSpec
from compressor.search.interrupts import Interrupts
from compressor.search.kept import kept
from compressor.search.ledger import Ledger
from compressor.search.observer import FrontChanged, Note, Observer, TrialEnded, TrialProgress, TrialStarted
from compressor.search.prepare import Prepared
from compressor.search.questions import Resolved
from compressor.search.study import Proposal, Study

ATTEMPTS = 3
"""How often the same values are run again after their process was lost."""
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class _Running:
    number: int
    digest: str
    about: str
    started: float
    attempt: int = 0
    """How often the process of this trial was lost before."""
    spec: TrialSpec | None = None


@dataclass(frozen=True)
class _Message:
    """From another thread: a trial's progress, or (without a stage) its end."""

    future: Future[Outcome] | None
    number: int = 0
    stage: str = ""
    share: float = 0.0


class Loop:
    """Runs trials until enough are finished, proposals in a row come to nothing, or the user interrupts."""

    def __init__(
        self,
        prepared: Prepared,
        study: Study,
        ledger: Ledger,
        executor: Executor,
        observer: Observer,
        interrupts: Interrupts,
    ) -> None:
        self._prepared, self._study, self._ledger = prepared, study, ledger
        self._executor, self._observer, self._interrupts = executor, observer, interrupts
        self._search = prepared.recipe.search
        self._running: dict[Future[Outcome], _Running] = {}
        self._same: defaultdict[str, list[Proposal]] = defaultdict(list)
        """Proposals that wait for a running trial with the same digest."""
        self._messages: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self._nothing_new = 0
        """Proposals in a row that were tried before or change nothing."""
        self._in_vain = 0
        """Proposals in a row that came to no finished trial: those, and what a limit screened out."""
        self._front: tuple[str, ...] = ()
        self._cancelled = False
        self._faulty: defaultdict[str, set[str]] = defaultdict(set)
        """By plugin: sites at which it fails, and which no plan may touch."""
        for plugin, sites in prepared.sensitivities.failed.items():
            self._faulty[plugin].update(sites)
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

    # --- propose -------------------------------------------------------------------------------------------------

    def _wants_more(self) -> bool:
        return (
            not self._interrupts.stop
            and self._broken is None
            and len(self._running) < self._executor.slots
            and self._ledger.finished + len(self._running) < self._search.trials
            and self._in_vain < self._search.patience
        )

    def _exhausted(self) -> str:
        """Why no more is proposed."""
        if self._nothing_new >= self._search.patience:
            return f"space exhausted: {self._nothing_new} proposals in a row were tried before or change nothing"
        return (
            f"search ended: {self._in_vain} proposals in a row overstep a limit before training, were tried before or "
            "change nothing; [search] patience allows more"
        )

    def _propose(self) -> None:
        proposal = self._study.ask(by_chance=self._nothing_new >= self._search.patience // 3)
        try:
            plan = self._resolved(self._prepared.space.plan(proposal.values))
        except Refusal as refusal:
            self._count_nothing_new()
            self._study.tell_refused(proposal.number, str(refusal), self._prepared.baseline.metrics)
            self._ledger.add_refused()
            return
        except WorkerLost as lost:
            self._lost(_Running(proposal.number, "", "could not be planned", time.monotonic()), str(lost))
            return
        except CompressorError as error:  # the search goes on without this plan
            outcome = Outcome("failed", reason=f"{type(error).__name__}: {error}")
            self._settle(_Running(proposal.number, "", "could not be planned", time.monotonic()), outcome)
            return
        self._dispatch(proposal, plan)

    def _resolved(self, plan: Plan) -> Plan:
        """The plan with its effective edits, as a worker finds them; without the sites at which a plugin fails."""
        recipe = self._prepared.recipe
        while True:
            plan = plan.without(self._faulty)
            about = Resolved(plan)
            question = Question(
                str(self._prepared.run.path), about, recipe.limits.plugin_seconds, recipe.search.threads
            )
            try:
                return self._answer(question)
            except (ForeignError, GraphError, NoAnswer) as error:
                plugin, site = error.culprit
                if not site or site in self._faulty[plugin]:
                    raise
                self._faulty[plugin].add(site)
                self._observer.notify(Note(f"{error}; the site is left alone"))

    def _answer(self, question: Question) -> Plan:
        """Asked again where its worker was lost, unless the user is leaving."""
        for attempt in range(ATTEMPTS + 1):
            future = self._executor.ask(question)
            try:
                while not future.done():
                    wait([future], timeout=_POLL_SECONDS)
                    self._cancel_if_asked()
                plan: Plan = future.result()
                return plan
            except WorkerLost:
                if self._cancelled or attempt == ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _dispatch(self, proposal: Proposal, plan: Plan) -> None:
        digest, about = plan.digest, plan.describe()
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
            self._start(_Running(proposal.number, digest, about, time.monotonic()), plan)

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
        spec = TrialSpec(
            run=str(run.path),
            folder=str(run.candidate(running.digest)),
            plan=plan,
            number=running.number,
            seed=self._search.seed,
            threads=self._search.threads,
            timeout=self._search.timeout,
        )
        self._submit(replace(running, spec=spec), spec)

    def _submit(self, running: _Running, spec: TrialSpec) -> None:
        clear(Path(spec.folder))
        future = self._executor.submit(spec, self._reporter(running.number))
        self._running[future] = running
        future.add_done_callback(lambda done: self._messages.put(_Message(done)))

    def _reporter(self, number: int) -> Progress:
        return lambda stage, share: self._messages.put(_Message(None, number, stage, share))

    # --- listen --------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        self._cancel_if_asked()
        try:
            message = self._messages.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            return
        if message.future is None:
            self._observer.notify(TrialProgress(message.number, message.stage, message.share))
        else:
            self._end(self._running.pop(message.future), message.future)

    def _cancel_if_asked(self) -> None:
        if self._interrupts.cancel and not self._cancelled:
            self._cancelled = True
            self._executor.cancel_all()

    def _end(self, running: _Running, future: Future[Outcome]) -> None:
        try:
            outcome = future.result()
        except WorkerLost as lost:
            self._lost(running, str(lost))
            return
        except MachineError as error:
            self._broken = error
            self._give_up(running, str(error))
            return
        except TrialError as error:
            outcome = Outcome("failed", reason=str(error))
        self._settle(running, outcome)

    def _settle(self, running: _Running, outcome: Outcome) -> None:
        """Tell how a trial ended, and every proposal that waited for it."""
        seconds = round(time.monotonic() - running.started, 3)
        self._study.tell(running.number, outcome, self._prepared.baseline.metrics, seconds=seconds)
        self._ledger.add(running.number, running.digest, outcome)
        self._in_vain = self._in_vain + 1 if outcome.status == "screened" else 0
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

    def _lost(self, running: _Running, reason: str) -> None:
        """A process vanished: run the trial again, unless that was done often enough or the user is leaving."""
        if self._cancelled:
            self._give_up(running, "cancelled")
        elif running.attempt >= ATTEMPTS or running.spec is None:
            self._settle(running, Outcome("failed", reason=f"given up after {ATTEMPTS} more attempts: {reason}"))
        else:
            self._observer.notify(Note(f"trial {running.number} is run again: {reason}"))
            self._submit(replace(running, attempt=running.attempt + 1), running.spec)

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
