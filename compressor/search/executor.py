"""The seam between the search and the machines that run its trials: plain data in, a future of an outcome out."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import TypeAdapter

from compressor.engine.candidate import Outcome
from compressor.engine.plan import Plan

Progress = Callable[[str, float], None]
"""Told the stage and how far the trial is (0…1), on any thread."""


@dataclass(frozen=True)
class TrialSpec:
    """Everything a worker needs to know; the rest it reads from the run folder."""

    run: str
    """Absolute path of the run folder."""
    folder: str
    """Absolute path of the folder the result goes to; its ``outcome.json`` is written last."""
    plan: Plan
    number: int
    seed: int
    kind: Literal["trial", "control", "scratch", "probe"] = "trial"
    """``control``: a trial without limits; ``scratch``: train the architecture of the candidate ``source`` anew;
    ``probe``: the arm of the probe that ``source`` holds as JSON, whose score is left as ``score.json``."""
    source: str = ""
    threads: int = 1
    timeout: float = 0.0
    """Seconds until the trial is ended as failed; 0 means no limit."""


class Executor(Protocol):
    """Runs trials somewhere, each in a process of its own.

    The future gives the outcome, also that of a trial that failed on its own account. It raises ``WorkerLost`` when the
    process vanished, and ``TrialError`` when it ended without an outcome.
    """

    slots: int
    """Trials that can run at the same time."""

    def submit(self, spec: TrialSpec, progress: Progress | None = None) -> Future[Outcome]: ...

    def cancel_all(self) -> None:
        """End everything that runs, at once; the futures raise ``WorkerLost``."""

    def close(self) -> None:
        """End all workers and wait for them."""


SPEC: TypeAdapter[TrialSpec] = TypeAdapter(TrialSpec)
