"""Trials under way, each under a key of its owner's: handed to an executor, run again when their process was lost, and
what they bring kept in a folder of the run.

The search, the pilot study and the controls share this. What differs is what a key is, and what is done with an
outcome.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from compressor.engine.candidate import Outcome
from compressor.engine.course import Progress
from compressor.errors import DamagedFileError, MachineError, TrialError, WorkerLost
from compressor.search.executor import Executor, Job, JobResult
from compressor.search.keeping import begin, keep, keep_log

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
class _Running(Generic[K]):
    key: K
    job: Job
    folder: Path
    attempt: int = 0
    """How often its process was lost before."""


_Came = tuple[Future[JobResult], Outcome | Exception]


class Jobs(Generic[K]):
    """What runs; ``again`` is told of every trial that is run again, and why."""

    def __init__(self, executor: Executor, again: Callable[[K, str], None]) -> None:
        self._executor, self._again = executor, again
        self._running: dict[Future[JobResult], _Running[K]] = {}
        self._messages: queue.SimpleQueue[Progressed[K] | _Came] = queue.SimpleQueue()
        self.cancelled = False

    def __len__(self) -> int:
        return len(self._running)

    @property
    def keys(self) -> list[K]:
        """Of all that runs, in the order it began."""
        return [running.key for running in self._running.values()]

    def start(self, key: K, job: Job, folder: Path) -> None:
        """Run the job; what it brings is kept in ``folder``."""
        self._submit(_Running(key, job, folder))

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
        if isinstance(message, Progressed):
            return message
        running = self._running.pop(message[0])
        found = self._end(running, message[1])
        if isinstance(found, Ended):
            self._executor.forget(running.job.spec)
        return found

    def _end(self, running: _Running[K], came: Outcome | Exception) -> Ended[K] | Abandoned[K] | None:
        key = running.key
        match came:
            case Outcome():
                return Ended(key, came)
            case WorkerLost() if self.cancelled:
                return Abandoned(key, "cancelled")
            case WorkerLost() if running.attempt < ATTEMPTS:
                self._again(key, str(came))
                self._submit(replace(running, attempt=running.attempt + 1))
                return None
            case WorkerLost():
                return Ended(key, Outcome("failed", reason=f"given up after {ATTEMPTS} more attempts: {came}"))
            case MachineError():
                return Abandoned(key, str(came), came)
            case TrialError() | DamagedFileError():
                return Ended(key, Outcome("failed", reason=str(came)))
        raise came

    def _submit(self, running: _Running[K]) -> None:
        begin(running.folder, running.job.spec)
        future = self._executor.submit(running.job, self._reporter(running.key))
        self._running[future] = running
        future.add_done_callback(partial(self._came, running.folder))

    def _came(self, folder: Path, future: Future[JobResult]) -> None:
        """On the executor's thread: what a trial brings is kept at once, whatever befalls the driver next."""
        came: Outcome | Exception
        try:
            result = future.result()
            keep(folder, result)
            came = result.outcome
        except (WorkerLost, TrialError) as error:
            keep_log(folder, error.log)
            came = error
        except OSError as error:
            came = MachineError(f"{folder}: {error.strerror}")
        except Exception as error:
            came = error
        self._messages.put((future, came))

    def _reporter(self, key: K) -> Progress:
        return lambda stage, share: self._messages.put(Progressed(key, stage, share))
