"""What is known of the trials so far: which plans were tried, how they ended, which candidates are worth showing."""

from __future__ import annotations

from collections.abc import Iterator

from compressor.engine.candidate import Outcome
from compressor.engine.plan import Plan
from compressor.search.front import best_first, pareto_front
from compressor.search.prepare import Prepared
from compressor.search.result import Candidate, Counts
from compressor.search.study import Study


class Ledger:
    """Outcomes by digest, each with the trial that brought it."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._outcomes: dict[str, tuple[int, Outcome]] = {}
        self._failures: list[Outcome] = []
        self._counts = dict.fromkeys(("complete", "screened", "stopped", "failed", "duplicate", "refused"), 0)

    @staticmethod
    def read(prepared: Prepared, study: Study) -> Ledger:
        """Everything the study and the run folder remember."""
        ledger = Ledger(prepared)
        for record in study.records():
            status, digest = record.notes.get("status"), str(record.notes.get("digest", ""))
            if record.running or status in (None, "interrupted"):
                continue
            if status == "refused":
                ledger.add_refused()
            elif record.notes.get("duplicate_of") is not None:
                ledger.add_duplicate()
            else:
                kept = prepared.run.outcome(digest) if digest else None
                ledger.add(record.number, digest, kept or Outcome("failed", reason=str(record.notes.get("reason", ""))))
        return ledger

    # --- write ---------------------------------------------------------------------------------------------------

    def add(self, number: int, digest: str, outcome: Outcome) -> None:
        """A trial that was run; without a digest it failed before it was known what it would do."""
        self._counts[outcome.status] += 1
        if digest:
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

    def outcomes(self) -> Iterator[Outcome]:
        """How every trial that was run ended."""
        yield from (outcome for _, outcome in self._outcomes.values())
        yield from self._failures

    def front(self) -> list[Candidate]:
        """The Pareto-optimal candidates within the limits, the best first."""
        base, recipe = self._prepared.baseline.metrics, self._prepared.recipe
        front = pareto_front(list(self._within_limits()), base, recipe.objectives)
        return best_first(front, base, recipe.constraints, len(self._prepared.data.validation))

    def _within_limits(self) -> Iterator[Candidate]:
        for digest, (number, outcome) in self._outcomes.items():
            if outcome.status != "complete" or outcome.metrics is None:
                continue
            if all(excess <= 0 for excess in outcome.excess.values()):
                file = self._prepared.run.candidate(digest) / "plan.json"
                plan = Plan.from_json(file.read_bytes())
                yield Candidate.of(outcome.metrics, plan, digest=digest, trial=number, stages=outcome.stages)
