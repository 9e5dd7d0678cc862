"""A worker's side on its own machine: a private copy of what the run shares, and one local worker process.

Everything it is told and everything it answers is plain data and byte strings. Errors of the toolkit are answers, too:
whatever carries them may wrap what is raised.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from compressor.errors import CompressorError
from compressor.foreign import one_line
from compressor.processes import is_alive
from compressor.search.executor import Job, Question
from compressor.search.local import LocalExecutor
from compressor.search.remote.shared import write_shared
from compressor.search.remote.toolkit import Toolkit, toolkit

_PREFIX = "compressor-worker-"


class Host:
    """Runs one job at a time; ``progress`` may be asked meanwhile, from another thread."""

    def __init__(self, threads: int = 1) -> None:
        _sweep()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        self._executor = LocalExecutor(self._folder, 1, threads=threads)
        self._progress = ("", 0.0)

    def hello(self, plugins: Iterable[str]) -> Toolkit:
        """What this machine has of what a run with these plugins needs."""
        return toolkit(plugins)

    def take(self, name: str, data: bytes) -> str:
        """Keep one of the byte strings that all jobs share; what is wrong with it here, in one line, or nothing."""
        try:
            write_shared(self._folder, name, data)
        except CompressorError as error:
            return str(error)
        except OSError as error:
            return one_line(error)
        return ""

    def run(self, job: Job) -> Any:
        """Its result, or the error there is instead."""
        self._progress = ("", 0.0)
        answer = _answer(lambda: self._executor.submit(job, self._note).result())
        self._executor.forget(job.spec)  # it may be run again anywhere
        return answer

    def ask(self, question: Question) -> Any:
        return _answer(lambda: self._executor.ask(question).result())

    def progress(self) -> tuple[str, float]:
        """The stage of the trial that runs, and how far it is."""
        return self._progress

    def leave(self) -> None:
        """End the worker process and remove the copy."""
        self._executor.cancel_all()
        self._executor.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _note(self, stage: str, share: float) -> None:
        self._progress = stage, share


def _sweep() -> None:
    """Remove the copies of workers that were killed on this machine."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        process = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if process.isdecimal() and not is_alive(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def _answer(work: Any) -> Any:
    try:
        return work()
    except CompressorError as error:
        return error
