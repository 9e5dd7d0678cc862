"""The seam between the search and the machines that work for it: plain data in, a future of plain data out, no paths.

    driver                        worker, on this machine or another
    Job ──────── submit ────────▶ a trial in a process of its own
    JobResult ◀─ future ───────── its outcome, and what it wrote, as named byte strings
    Question ─── ask ───────────▶ an answer, and nothing left behind

What all jobs of a run share (recipe, baseline, sensitivities) an executor knows from the run it was made for; what only
one job needs is given with it. The driver alone writes to the run folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pydantic import TypeAdapter

from compressor.engine.candidate import Outcome
from compressor.engine.course import Progress
from compressor.engine.plan import Plan
from compressor.engine.rungs import Rung
from compressor.stored import Stored


@dataclass(frozen=True)
class TrialSpec:
    """What is to be tried: everything that its outcome depends on, beside the run."""

    plan: Plan
    number: int
    seed: int
    kind: Literal["trial", "control", "scratch", "arm"] = "trial"
    """``control``: a trial without limits; ``scratch``: train the architecture of the candidate with the digest
    ``source`` anew; ``arm``: the arm of the pilot study that is called ``source``, whose result is left as
    ``arm.json``."""
    source: str = ""
    rungs: tuple[Rung, ...] = ()
    """Where the trial ends early."""
    threads: int = 1
    timeout: float = 0.0
    """Seconds until the trial is ended as failed; 0 means no limit."""


@dataclass(frozen=True)
class Job:
    """A trial, with the files that only it needs."""

    spec: TrialSpec
    given: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class JobResult:
    """What a trial came to, and what it wrote beside ``outcome.json``, its log included."""

    outcome: Outcome
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """Something to find out about a run that leaves nothing behind but its answer."""

    about: Any
    """What is asked: one of ``compressor.search.questions``, plain data."""
    seconds: float = 0.0
    """How long it may take over each piece of a plugin's own work; 0 means as long as it likes."""
    threads: int = 1


class Executor(Protocol):
    """Runs the trials of one run somewhere, each in a process of its own, and answers questions likewise.

    A trial's future gives its result, also that of a trial that failed on its own account. It raises ``WorkerLost``
    when the process vanished, ``MachineError`` when the machine failed it, and ``TrialError`` when it ended without an
    outcome. A question's future gives the answer, or raises the toolkit's errors as they came about there, ``NoAnswer``
    where answering took the process down or took too long, and ``WorkerLost`` where the worker vanished.
    """

    @property
    def slots(self) -> int:
        """Trials and questions that can run at the same time; it changes where workers come and go."""

    def submit(self, job: Job, progress: Progress | None = None) -> Future[JobResult]: ...

    def ask(self, question: Question) -> Future[Any]: ...

    def forget(self, spec: TrialSpec) -> None:
        """The trial will not be run again: what it would go on with may be removed."""

    def cancel_all(self) -> None:
        """End everything that runs, at once; the futures raise ``WorkerLost``."""

    def close(self) -> None:
        """End all workers and wait for them."""


MACHINE_FAILED = 75
"""Exit status of a trial's process that the machine failed (sysexits.h calls it EX_TEMPFAIL)."""
SPEC: TypeAdapter[TrialSpec] = TypeAdapter(TrialSpec)
TRIAL: Stored[TrialSpec] = Stored(TrialSpec, complete=False)
"""``trial.json`` in a trial's folder."""
