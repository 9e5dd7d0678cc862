"""Trials under way, each under a key of its owner's: handed to an executor, run again when their process was lost.

The search and the probe share this: what differs is what a key is, and what is done with an outcome.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from compressor.engine.candidate import Outcome
from compressor.engine.trial import clear
from compressor.errors import DamagedFileError, MachineError, TrialError, WorkerLost
from compressor.search.executor import Executor, Progress, TrialSpec

K = TypeVar("K", bound=Hashable)

ATTEMPTS = 3
"""How often a trial is run again after its process was lost."""
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Progressed(Generic[K]):
    """A trial is so far (0…1) in a stage."""

    key: K
    stage: str
    share: float


@dataclass(frozen=True)
class Ended(Generic[K]):
    """A trial has an outcome, if only that it failed."""

    key: K
    outcome: Outcome


@dataclass(frozen=True)
class Abandoned(Generic[K]):
    """A trial has no outcome and is to be run another time: it was cancelled, or the machine failed it."""

    key: K
    reason: str
    machine: MachineError | None = None


@dataclass(frozen=True)
class _Job(Generic[K]):
    key: K
    spec: TrialSpec
    attempt: int = 0
    """How often its process was lost before."""


class Jobs(Generic[K]):
    """What runs; ``again`` is told of every trial that is run again, and why."""

    def __init__(self, executor: Executor, again: Callable[[K, str], None]) -> None:
        self._executor, self._again = executor, again
        self._running: dict[Future[Outcome], _Job[K]] = {}
        self._messages: queue.SimpleQueue[Progressed[K] | Future[Outcome]] = queue.SimpleQueue()
        self.cancelled = False

    def __len__(self) -> int:
        return len(self._running)

    @property
    def keys(self) -> list[K]:
        """Of all that runs, in the order it began."""
        return [job.key for job in self._running.values()]

    def start(self, key: K, spec: TrialSpec) -> None:
        self._submit(_Job(key, spec))

    def cancel(self) -> None:
        """End everything that runs, at once; what was running is abandoned."""
        if not self.cancelled:
            self.cancelled = True
            self._executor.cancel_all()

    def next(self) -> Progressed[K] | Ended[K] | Abandoned[K] | None:
        """What happens next; None where nothing does for a moment, or a trial is run again."""
        try:
            message = self._messages.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return None
        return message if isinstance(message, Progressed) else self._end(self._running.pop(message), message)

    def _end(self, job: _Job[K], future: Future[Outcome]) -> Ended[K] | Abandoned[K] | None:
        try:
            return Ended(job.key, future.result())
        except WorkerLost as lost:
            if self.cancelled:
                return Abandoned(job.key, "cancelled")
            if job.attempt >= ATTEMPTS:
                return Ended(job.key, Outcome("failed", reason=f"given up after {ATTEMPTS} more attempts: {lost}"))
            self._again(job.key, str(lost))
            self._submit(_Job(job.key, job.spec, job.attempt + 1))
            return None
        except MachineError as error:
            return Abandoned(job.key, str(error), error)
        except (TrialError, DamagedFileError) as error:
            return Ended(job.key, Outcome("failed", reason=str(error)))

    def _submit(self, job: _Job[K]) -> None:
        clear(Path(job.spec.folder))
        future = self._executor.submit(job.spec, self._reporter(job.key))
        self._running[future] = job
        future.add_done_callback(self._messages.put)

    def _reporter(self, key: K) -> Progress:
        return lambda stage, share: self._messages.put(Progressed(key, stage, share))
