"""Trials on this machine: one worker per slot, each trial in its own process and session."""

from __future__ import annotations

import base64
import json
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from compressor.engine.candidate import OUTCOME, Outcome
from compressor.engine.trial import read_outcome
from compressor.errors import CompressorError, MachineError, TrialError, WorkerLost
from compressor.processes import how_it_ended, kill_session
from compressor.search.executor import MACHINE_FAILED, SPEC, Progress, Question, TrialSpec
from compressor.search.forked import Process, fork_worker

_PATIENCE_SECONDS = 5.0


class LocalExecutor:
    """Runs up to ``slots`` trials at a time. ``log`` collects what workers say outside of trials.

    ``forked``: workers are forks of this process, and have its live objects.
    """

    def __init__(self, slots: int, *, threads: int = 1, log: Path | None = None, forked: bool = False) -> None:
        self.slots = slots
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix="trial")
        launch = partial(fork_worker, log) if forked else partial(_spawn, threads, log)
        self._workers = [_Worker(launch) for _ in range(slots)]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def warm(self) -> None:
        """Start the workers now: they import what they need while the driver does something else."""
        for worker in self._workers:
            worker.start()

    def submit(self, spec: TrialSpec, progress: Progress | None = None) -> Future[Outcome]:
        return self._pool.submit(self._run, spec, progress or (lambda stage, share: None))

    def ask(self, question: Question) -> Future[Any]:
        return self._pool.submit(self._ask, question)

    def _run(self, spec: TrialSpec, progress: Progress) -> Outcome:
        with self._some_worker() as worker:
            return worker.run(spec, progress)

    def _ask(self, question: Question) -> Any:
        with self._some_worker() as worker:
            return worker.ask(question)

    @contextmanager
    def _some_worker(self) -> Iterator[_Worker]:
        worker = self._idle.get()
        try:
            yield worker
        finally:
            self._idle.put(worker)

    def cancel_all(self) -> None:
        for worker in self._workers:
            worker.kill()

    def close(self) -> None:
        for worker in self._workers:
            worker.retire()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for worker in self._workers:
            worker.end()


class _Worker:
    """One worker process, started when first needed and again whenever it is lost."""

    def __init__(self, launch: Callable[[], Process]) -> None:
        self._start = launch
        self._process: Process | None = None
        self._foreign = _Foreign(self._kill_trial)
        self._trial: int | None = None
        """Process id of the running trial."""
        self._machine = ""
        """What the machine failed the last such trial with."""
        self._retired = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the process, unless it runs."""
        self._started()

    def run(self, spec: TrialSpec, progress: Progress) -> Outcome:
        process = self._started()
        timed_out = threading.Event()

        def expire() -> None:
            timed_out.set()
            self.kill()

        timer = threading.Timer(spec.timeout, expire)
        timer.daemon = True
        if spec.timeout:
            timer.start()
        try:
            status = self._converse(process, spec, progress)
        finally:
            timer.cancel()
            self._foreign.stop()
            self._trial = None
        return self._outcome(spec, status, timed_out.is_set())

    def ask(self, question: Question) -> Any:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        packed = base64.b64encode(pickle.dumps(question)).decode()
        with suppress(OSError):
            process.stdin.write(json.dumps({"question": packed}).encode() + b"\n")
            process.stdin.flush()
            for line in process.stdout:
                message: dict[str, Any] = json.loads(line)
                if "failed" in message:
                    raise TrialError(f"the worker could not answer: {message['failed']}")
                if "answer" in message:
                    answer = pickle.loads(base64.b64decode(message["answer"]))
                    if isinstance(answer, CompressorError):
                        raise answer
                    return answer
        raise WorkerLost("a worker vanished while it answered a question")

    def _converse(self, process: Process, spec: TrialSpec, progress: Progress) -> int | None:
        """Hand over the spec and listen until the trial ends; its exit status, None when the worker itself is gone."""
        assert process.stdin is not None
        assert process.stdout is not None
        self._foreign = _Foreign(self._kill_trial)
        try:
            process.stdin.write(SPEC.dump_json(spec) + b"\n")
            process.stdin.flush()
        except OSError:
            return None
        for line in process.stdout:
            message: dict[str, Any] = json.loads(line)
            if "pid" in message:
                self._trial = message["pid"]
            elif "patience" in message:
                self._foreign.seconds = message["patience"]
            elif "at" in message:
                self._foreign.at(message["at"])
            elif "stage" in message:
                progress(message["stage"], message["share"])
            elif "machine" in message:
                self._machine = str(message["machine"])
            elif "failed" in message:
                raise TrialError(f"the worker could not prepare: {message['failed']}")
            elif "exit" in message:
                return int(message["exit"])
        return None

    def _outcome(self, spec: TrialSpec, status: int | None, timed_out: bool) -> Outcome:
        file = Path(spec.folder) / "outcome.json"
        if file.exists():
            return read_outcome(Path(spec.folder))
        reason = self._foreign.overdue
        if timed_out:
            reason = f"took longer than the {spec.timeout:g} s a trial may take"
        if reason:
            outcome = Outcome("failed", reason=reason)
            OUTCOME.write(file, outcome)
            return outcome
        if status == MACHINE_FAILED:
            raise MachineError(f"trial {spec.number}: {self._machine or 'the machine failed it'}")
        if status is None or status < 0:
            how = "was ended with its worker" if status is None else how_it_ended(status)
            within = f", in {self._foreign.whose}" if self._foreign.whose else ""
            raise WorkerLost(f"the process of trial {spec.number} {how}{within}")
        raise TrialError(f"the process of trial {spec.number} ended with status {status}; see {spec.folder}/log.txt")

    def _started(self) -> Process:
        with self._lock:
            if self._retired:
                raise WorkerLost("the executor is closed")
            if self._process is None or self._process.poll() is not None:
                self._process = self._start()
            return self._process

    def kill(self) -> None:
        """End the worker and its trial at once; the next trial gets a new worker."""
        with self._lock:
            if self._process is not None:
                kill_session(self._process.pid)
            trial = self._trial
            if trial is not None:
                kill_session(trial)

    def _kill_trial(self) -> None:
        """End what runs now; the worker goes on with the next."""
        with self._lock:
            if self._trial is not None:
                kill_session(self._trial)

    def retire(self) -> None:
        """No further trials; a worker between two trials ends by itself when its input does."""
        with self._lock:
            self._retired = True
            if self._process is not None and self._process.stdin is not None and self._trial is None:
                with suppress(OSError):
                    self._process.stdin.close()

    def end(self) -> None:
        """Wait for the worker to end, or make it."""
        if self._process is None:
            return
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class _Foreign:
    """Whose code runs in a trial, and that it does not for longer than it may; ``kill`` ends the trial that does."""

    def __init__(self, kill: Callable[[], None]) -> None:
        self._kill = kill
        self._timer: threading.Timer | None = None
        self.whose = ""
        """The last that ran where nothing was said since."""
        self.seconds = 0.0
        """0: as long as it likes."""
        self.overdue = ""
        """What to say of it, once it took too long."""

    def at(self, whose: str) -> None:
        """Now this one's code runs; empty: nobody's."""
        self.stop()
        self.whose = whose
        if whose and self.seconds:
            self._timer = threading.Timer(self.seconds, self._expire)
            self._timer.daemon = True
            self._timer.start()

    def stop(self) -> None:
        """Wait for nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self.overdue = f"{self.whose}: took longer than the {self.seconds:.3g} s it may take (limits.plugin_seconds)"
        self._kill()


def _spawn(threads: int, log: Path | None) -> Process:
    """A worker in a Python of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # asking CUDA itself before a fork makes it useless after
    }
    with open(log or os.devnull, "ab") as file:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "compressor.search.worker", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            env=environment,
            start_new_session=True,
        )
