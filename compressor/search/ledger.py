"""What is known of the trials so far: which plans were tried, how they ended, which candidates are worth showing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from compressor.engine.candidate import Outcome
from compressor.engine.plan import PLAN
from compressor.search.front import best_first, pareto_front
from compressor.search.kept import kept
from compressor.search.observer import Observer
from compressor.search.prepare import Prepared
from compressor.search.result import Candidate, Counts
from compressor.search.study import Record, Study


class Ledger:
    """Outcomes by digest, each with the trial that brought it."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._outcomes: dict[str, tuple[int, Outcome]] = {}
        self._failures: list[Outcome] = []
        self._front: list[Candidate] = []
        """Candidates that none of those looked at beats: what is beaten once stays beaten."""
        self._unseen: list[str] = []
        """Digests of what has not been compared with them."""
        self.lost: list[Record] = []
        """Trials that ended, of which too little is left to count them."""
        self._counts = dict.fromkeys(("complete", "screened", "stopped", "failed", "duplicate", "refused"), 0)

    @staticmethod
    def read(prepared: Prepared, study: Study, observer: Observer) -> Ledger:
        """Everything the study and the run folder remember. Trials whose files are gone or damaged are ``lost``."""
        ledger = Ledger(prepared)
        records = study.records()
        retried = {record.notes.get("retry_of") for record in records}
        for record in records:
            status, digest = record.notes.get("status"), str(record.notes.get("digest", ""))
            if record.running or status in (None, "interrupted") or record.number in retried:
                continue
            if status == "refused":
                ledger.add_refused()
            elif record.notes.get("duplicate_of") is not None:
                ledger.add_duplicate()
            else:
                ledger._recall(record, digest, observer)
        return ledger

    def _recall(self, record: Record, digest: str, observer: Observer) -> None:
        """Take a trial as its folder tells it."""
        run = self._prepared.run
        found = kept(lambda: run.outcome(digest), observer, instead="the trial is run again") if digest else None
        if found is not None:
            self.add(record.number, digest, self._held_to_limits(found))
        elif record.notes.get("status") == "failed":
            self.add(record.number, digest, Outcome("failed", reason=str(record.notes.get("reason", ""))))
        else:
            self.lost.append(record)

    def _held_to_limits(self, outcome: Outcome) -> Outcome:
        """The outcome with what its figures overstep, whatever was written of that."""
        if outcome.status != "complete" or outcome.metrics is None:
            return outcome
        limits, base = self._prepared.recipe.constraints, self._prepared.baseline.metrics
        return replace(outcome, excess=limits.excess(outcome.metrics, base))

    # --- write ---------------------------------------------------------------------------------------------------

    def add(self, number: int, digest: str, outcome: Outcome) -> None:
        """A trial that was run; without a digest it failed before it was known what it would do."""
        self._counts[outcome.status] += 1
        if digest:
            if digest in self._outcomes:
                self._front, self._unseen = [], [*self._outcomes]
            else:
                self._unseen.append(digest)
            self._outcomes[digest] = (number, outcome)
        else:
            self._failures.append(outcome)

    def add_duplicate(self) -> None:
        self._counts["duplicate"] += 1

    def add_refused(self) -> None:
        self._counts["refused"] += 1

    # --- look ----------------------------------------------------------------------------------------------------

    @property
    def finished(self) -> int:
        """Trials that count: everything that was trained, whatever came of it. What is screened out costs a second."""
        return sum(self._counts[status] for status in ("complete", "stopped", "failed"))

    @property
    def counts(self) -> Counts:
        return Counts(**self._counts)

    def tried(self, digest: str) -> tuple[int, Outcome] | None:
        """The trial that had these effective edits, and how it ended."""
        return self._outcomes.get(digest)

    def by_digest(self) -> dict[str, Outcome]:
        """How the trial of every plan ended."""
        return {digest: outcome for digest, (_, outcome) in self._outcomes.items()}

    def by_number(self) -> dict[int, Outcome]:
        """The same by the number of the trial."""
        return dict(self._outcomes.values())

    def outcomes(self) -> Iterator[Outcome]:
        """How every trial that was run ended."""
        yield from (outcome for _, outcome in self._outcomes.values())
        yield from self._failures

    def front(self) -> list[Candidate]:
        """The Pareto-optimal candidates within the limits, the best first."""
        base, objectives = self._prepared.baseline.metrics, self._prepared.recipe.objectives
        found = [candidate for digest in self._unseen if (candidate := self._within_limits(digest)) is not None]
        self._front = pareto_front([*self._front, *found], base, objectives)
        self._unseen = []
        return best_first(self._front, base, self._prepared.judged_by)

    def _within_limits(self, digest: str) -> Candidate | None:
        number, outcome = self._outcomes[digest]
        if outcome.status != "complete" or outcome.metrics is None or not outcome.within():
            return None
        plan = PLAN.read(self._prepared.run.candidate(digest) / "plan.json")
        return Candidate.of(outcome.metrics, plan, digest=digest, trial=number, stages=outcome.stages)
