"""Workers that come and go, as an executor: whoever is idle takes the next job, whoever is lost is replaced.

What carries the messages is behind ``Remote``; Ray is one such. A worker is asked for, and joins when there is a
machine for it, be that in the middle of a search. One that is of another version is refused. One that dies, or is not
heard of for too long, is lost: its job raises ``WorkerLost`` and whatever it may still answer is heard by nobody.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from compressor.engine.course import Progress
from compressor.errors import CompressorError, InputError, MachineError, WorkerLost
from compressor.search.executor import Job, JobResult, Question
from compressor.search.remote.shared import Shared
from compressor.search.remote.toolkit import Toolkit

T = TypeVar("T")
PATIENCE = 120.0
"""Seconds without any worker after which a run gives up."""
_POLL = 0.5


class Remote(Protocol):
    """A worker on some machine. Every call raises ``WorkerLost`` where it is gone or silent."""

    def hello(self) -> Toolkit | None:
        """What it has; None as long as there is no machine for it."""

    def take(self, name: str, data: bytes) -> str: ...

    def run(self, job: Job, progress: Progress) -> JobResult: ...

    def ask(self, question: Question) -> Any: ...

    def leave(self) -> None:
        """Let it put its things away and end it."""

    def end(self) -> None:
        """End it at once, whatever it does."""


class _Worker:
    """A remote worker, and what of the run it has."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.has: dict[str, str] = {}

    def supply(self, shared: Shared) -> None:
        """Send what it has not got. Raises ``InputError`` where something means nothing there."""
        for name, digest in shared.digests().items():
            if self.has.get(name) != digest:
                if complaint := self.remote.take(name, shared.content(name)):
                    raise InputError(f"a worker cannot use {name}: {complaint}")
                self.has[name] = digest


class WorkerPool:
    """Up to ``most`` workers of one run. ``employ`` asks for one more; ``tell`` hears what befalls workers.

    Raises ``InputError`` where the first to answer is of another version, or none answers for ``patience`` seconds.
    """

    def __init__(
        self,
        shared: Shared,
        employ: Callable[[], Remote],
        mine: Toolkit,
        most: int,
        tell: Callable[[str], None],
        patience: float = PATIENCE,
    ) -> None:
        self._shared, self._employ, self._mine, self._tell = shared, employ, mine, tell
        self._patience = patience
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._ready: list[_Worker] = []
        self._waiting: list[Remote] = []
        self._refused: list[str] = []
        self._closed = False
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="remote")
        for _ in range(most):
            self._waiting.append(employ())
        self._watch = threading.Thread(target=self._watching, name="workers", daemon=True)
        self._watch.start()
        try:
            self._await_first()
        except BaseException:
            self.close()
            raise

    @property
    def slots(self) -> int:
        """Workers there are now; one where there is none, so that somebody waits for the next."""
        return max(len(self._ready), 1)

    def submit(self, job: Job, progress: Progress | None = None) -> Future[JobResult]:
        told = progress or (lambda stage, share: None)
        return self._threads.submit(self._with_worker, lambda worker: worker.remote.run(job, told))

    def ask(self, question: Question) -> Future[Any]:
        return self._threads.submit(self._with_worker, lambda worker: worker.remote.ask(question))

    def cancel_all(self) -> None:
        with self._lock:
            for worker in self._ready:
                worker.remote.end()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for worker in self._ready:
                worker.remote.leave()
            for remote in self._waiting:
                remote.end()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._watch.join()

    # --- work ----------------------------------------------------------------------------------------------------

    def _with_worker(self, work: Callable[[_Worker], T]) -> T:
        worker = self._some_worker()
        try:
            worker.supply(self._shared)
            answer = work(worker)
        except WorkerLost as lost:
            self._replace(worker, str(lost))
            raise
        except BaseException:
            self._idle.put(worker)
            raise
        if isinstance(answer, MachineError):  # that machine's trouble: there are others
            self._replace(worker, str(answer))
            raise WorkerLost(str(answer))
        self._idle.put(worker)
        if isinstance(answer, CompressorError):
            raise answer
        return answer

    def _some_worker(self) -> _Worker:
        """The next that is idle. Raises ``MachineError`` where there have been none at all for too long."""
        alone_since = time.monotonic()
        while True:
            with suppress(queue.Empty):
                worker = self._idle.get(timeout=_POLL)
                if worker in self._ready:
                    return worker
            if self._closed:
                raise WorkerLost("the executor is closed")
            if self._ready:
                alone_since = time.monotonic()
            elif time.monotonic() - alone_since > self._patience:
                raise MachineError(f"no worker was left for {self._patience:.0f} s{self._why()}")

    # --- come and go ---------------------------------------------------------------------------------------------

    def _await_first(self) -> None:
        deadline = time.monotonic() + self._patience
        while not self._ready:
            if self._refused:
                raise InputError(f"a worker is refused: {self._refused[0]}")
            if time.monotonic() > deadline:
                raise InputError(f"no worker came within {self._patience:.0f} s: the cluster has no free processor")
            time.sleep(_POLL / 10)

    def _watching(self) -> None:
        """Take in those for whom there is a machine now."""
        while not self._closed:
            for remote in list(self._waiting):
                try:
                    theirs = remote.hello()
                except WorkerLost as lost:
                    self._dismiss(remote, str(lost), again=not self._first_refused(str(lost)))
                    continue
                if theirs is not None:
                    self._take_in(remote, theirs)
            time.sleep(_POLL)

    def _first_refused(self, why: str) -> bool:
        """Whether a worker that never came to life ends it all: there has been none so far."""
        if self._ready:
            return False
        self._refused.append(why)
        return True

    def _take_in(self, remote: Remote, theirs: Toolkit) -> None:
        worker = _Worker(remote)
        try:
            if unlike := self._mine.difference(theirs):
                raise InputError(unlike)
            worker.supply(self._shared)
        except InputError as error:
            self._refused.append(str(error))
            self._dismiss(remote, f"refused: {error}", again=False)
            return
        except WorkerLost as lost:
            self._dismiss(remote, str(lost), again=True)
            return
        with self._lock:
            self._waiting.remove(remote)
            self._ready.append(worker)
        self._idle.put(worker)
        self._tell(f"worker {len(self._ready)} has joined")

    def _dismiss(self, remote: Remote, why: str, *, again: bool) -> None:
        self._tell(f"a worker is not taken: {why}")
        remote.end()
        with self._lock:
            self._waiting.remove(remote)
            if again and not self._closed:
                self._waiting.append(self._employ())

    def _replace(self, worker: _Worker, why: str) -> None:
        """The worker is lost, or of no use; another one is asked for."""
        worker.remote.end()
        with self._lock:
            if worker in self._ready:
                self._ready.remove(worker)
                if not self._closed:
                    self._waiting.append(self._employ())
        self._tell(f"a worker is lost: {why}")

    def _why(self) -> str:
        return f" ({self._refused[-1]})" if self._refused else ""
