"""Workers that are forks of the driver: they have its live datasets, loaders and tasks, which nothing could hand over.

A fork has no threads but the one that made it, so that everything in it computes on one thread.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import IO, Protocol

from compressor.errors import InputError
from compressor.processes import FORKS

_POLL_SECONDS = 0.02


class Process(Protocol):
    """What the executor needs of a worker's process; ``subprocess.Popen`` is one."""

    pid: int

    @property
    def stdin(self) -> IO[bytes] | None: ...
    @property
    def stdout(self) -> IO[bytes] | None: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...


class _Fork:
    """A fork with pipes to its standard input and output, which runs ``compressor.search.worker.serve``."""

    def __init__(self, log: Path | None) -> None:
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
        driver = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _become_worker(theirs_in, theirs_out, [*_held(), ours_in, ours_out], log, driver)
        os.close(theirs_in)
        os.close(theirs_out)
        self.stdin: IO[bytes] | None = os.fdopen(ours_in, "wb")
        self.stdout: IO[bytes] | None = os.fdopen(ours_out, "rb")
        self._ended: int | None = None
        _forks.append(self)

    def poll(self) -> int | None:
        if self._ended is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._ended = os.waitstatus_to_exitcode(status) if pid else None
        return self._ended

    def wait(self, timeout: float | None = None) -> int:
        """Raises ``subprocess.TimeoutExpired``."""
        end = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("worker", timeout or 0.0)
            time.sleep(_POLL_SECONDS)
        return status


_forks: list[_Fork] = []


def _held() -> list[int]:
    """The driver's ends of all workers' pipes: a worker that held another's would keep it from seeing its input end."""
    pipes = [pipe for fork in _forks for pipe in (fork.stdin, fork.stdout) if pipe is not None]
    return [pipe.fileno() for pipe in pipes if not pipe.closed]


def fork_worker(log: Path | None) -> Process:
    """A worker that has everything this process has. Raises ``InputError`` where processes cannot be forked."""
    if not FORKS:
        raise InputError(
            "live datasets and tasks reach worker processes by fork, which this system does not do safely: put them "
            'into a module, and name the functions that make them (data="package.module:function")'
        )
    return _Fork(log)


def _become_worker(given: int, answers: int, others: list[int], log: Path | None, driver: int) -> None:
    """In the fork: take over the pipes, serve until the input ends, and never return."""
    status = 1
    try:
        os.setsid()
        for descriptor in others:
            os.close(descriptor)
        os.dup2(given, 0)
        os.dup2(answers, 1)
        os.dup2(os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666), 2)
        os.close(given)
        os.close(answers)
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
        from compressor.search.worker import serve  # imports the trial's side of everything

        serve(driver)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
