"""Trials on this machine: one worker per slot, each trial in its own process and session."""

from __future__ import annotations

import base64
import json
import os
import pickle
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from compressor.apart import LEISURE
from compressor.engine.candidate import Outcome
from compressor.engine.course import Progress
from compressor.errors import CompressorError, MachineError, TrialError, WorkerLost
from compressor.processes import how_it_ended, kill_session
from compressor.search.executor import MACHINE_FAILED, SPEC, Job, JobResult, Question, TrialSpec
from compressor.search.forked import Process, fork_worker
from compressor.search.packing import GIVEN, log_of, pack, unpack
from compressor.search.run_folder import checkpoints_of

_PATIENCE_SECONDS = 5.0


class LocalExecutor:
    """Runs up to ``slots`` trials of one run at a time.

    ``run``: the run folder, or a copy of what of it all trials share. Trials work in folders of their own within it,
    and what workers say outside of trials is collected there. ``forked``: workers are forks of this process, and have
    its live objects.
    """

    def __init__(self, run: Path, slots: int, *, threads: int = 1, forked: bool = False) -> None:
        self._slots, self._folder = slots, run
        log = run / "workers.log"
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix="trial")
        launch = partial(fork_worker, log) if forked else partial(_spawn, threads, log)
        self._workers = [_Worker(run, launch) for _ in range(slots)]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def warm(self) -> None:
        """Start the workers now: they import what they need while the driver does something else."""
        for worker in self._workers:
            worker.start()

    @property
    def slots(self) -> int:
        return self._slots

    def submit(self, job: Job, progress: Progress | None = None) -> Future[JobResult]:
        return self._pool.submit(self._run, job, progress or (lambda stage, share: None))

    def ask(self, question: Question) -> Future[Any]:
        return self._pool.submit(self._ask, question)

    def _run(self, job: Job, progress: Progress) -> JobResult:
        with self._some_worker() as worker:
            return worker.run(job, progress)

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

    def forget(self, spec: TrialSpec) -> None:
        checkpoints = checkpoints_of(self._folder, spec)
        shutil.rmtree(checkpoints, ignore_errors=True)
        with suppress(OSError):  # other trials have some, or there never were any
            checkpoints.parent.rmdir()

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

    def __init__(self, run: Path, launch: Callable[[], Process]) -> None:
        self._run, self._start = run, launch
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

    def run(self, job: Job, progress: Progress) -> JobResult:
        """Run the job in a folder of its own, which is gone afterwards. Its checkpoints stay until it is forgotten."""
        folder, checkpoints = _working_folder(self._run), checkpoints_of(self._run, job.spec)
        try:
            unpack(job.given, folder / GIVEN)
            return self._carry_out(job.spec, folder, checkpoints, progress)
        except (WorkerLost, TrialError) as error:
            error.log = log_of(folder)
            raise
        except OSError as error:
            raise MachineError(f"trial {job.spec.number}: {error.strerror or error}") from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _carry_out(self, spec: TrialSpec, folder: Path, checkpoints: Path, progress: Progress) -> JobResult:
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
            asked = {"run": str(self._run), "folder": str(folder), "checkpoints": str(checkpoints)}
            status = self._converse(process, {**asked, "spec": SPEC.dump_python(spec, mode="json")}, progress)
        finally:
            timer.cancel()
            self._foreign.stop()
            self._trial = None
        return self._result(spec, folder, status, timed_out.is_set())

    def ask(self, question: Question) -> Any:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        packed = base64.b64encode(pickle.dumps(question)).decode()
        with suppress(OSError):
            process.stdin.write(json.dumps({"run": str(self._run), "question": packed}).encode() + b"\n")
            process.stdin.flush()
            for message in _messages(process.stdout):
                if "failed" in message:
                    raise TrialError(f"the worker could not answer: {message['failed']}")
                if "answer" in message:
                    answer = pickle.loads(base64.b64decode(message["answer"]))
                    if isinstance(answer, CompressorError):
                        raise answer
                    return answer
        raise WorkerLost("a worker vanished while it answered a question")

    def _converse(self, process: Process, asked: dict[str, Any], progress: Progress) -> int | None:
        """Hand over the trial and listen until the trial ends; its exit status, None when the worker itself is gone."""
        assert process.stdin is not None
        assert process.stdout is not None
        self._foreign = _Foreign(self._kill_trial)
        try:
            process.stdin.write(json.dumps(asked).encode() + b"\n")
            process.stdin.flush()
        except OSError:
            return None
        for message in _messages(process.stdout):
            if "pid" in message:
                self._trial = message["pid"]
                self._foreign.at("")
            elif "patience" in message:
                self._foreign.seconds, self._foreign.silence = message["patience"], message["silence"]
            elif "at" in message:
                self._foreign.at(message["at"])
            elif "goes_on" in message:
                self._foreign.heard(message["goes_on"] != LEISURE)
            elif "stage" in message:
                self._foreign.heard()
                progress(message["stage"], message["share"])
            elif "machine" in message:
                self._machine = str(message["machine"])
            elif "failed" in message:
                raise TrialError(f"the worker could not prepare: {message['failed']}")
            elif "exit" in message:
                return int(message["exit"])
        return None

    def _result(self, spec: TrialSpec, folder: Path, status: int | None, timed_out: bool) -> JobResult:
        if (folder / "outcome.json").exists():
            return pack(folder)
        reason = self._foreign.overdue
        if timed_out:
            reason = f"took longer than the {spec.timeout:g} s a trial may take"
        if reason:
            return pack(folder, Outcome("failed", reason=reason))
        if status == MACHINE_FAILED:
            raise MachineError(f"trial {spec.number}: {self._machine or 'the machine failed it'}")
        if status is None or status < 0:
            how = "was ended with its worker" if status is None else how_it_ended(status)
            within = f", in {self._foreign.whose}" if self._foreign.whose else ""
            raise WorkerLost(f"the process of trial {spec.number} {how}{within}")
        raise TrialError(f"the process of trial {spec.number} ended with status {status}; see its log.txt")

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
        self.silence = 0.0
        """How long it may say nothing while nobody's code runs; 0 likewise."""
        self.overdue = ""
        """What to say of it, once it took too long."""

    def at(self, whose: str) -> None:
        """Now this one's code runs; empty: nobody's."""
        self.whose = whose
        self._await(self.seconds if whose else self.silence)

    def heard(self, watched: bool = True) -> None:
        """It goes on; or takes as long as it likes now, which is not ``watched``."""
        if not self.whose:
            self._await(self.silence if watched else 0.0)

    def stop(self) -> None:
        """Wait for nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _await(self, seconds: float) -> None:
        self.stop()
        if seconds:
            self._timer = threading.Timer(seconds, self._expire)
            self._timer.daemon = True
            self._timer.start()

    def _expire(self) -> None:
        if self.whose:
            self.overdue = (
                f"{self.whose}: took longer than the {self.seconds:.3g} s it may take (limits.plugin_seconds)"
            )
        else:
            self.overdue = (
                f"hangs: not one batch in {self.silence:.3g} s, so a layer or the data do (10 × limits.plugin_seconds)"
            )
        self._kill()


def _messages(stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    """What a worker says, until it ends; one that is killed while it says something has not said it."""
    for line in stream:
        if not line.endswith(b"\n"):
            return
        yield json.loads(line)


def _working_folder(run: Path) -> Path:
    """A new folder on the disk of the run; what a killed driver leaves of it is swept away when the run goes on."""
    return Path(tempfile.mkdtemp(prefix=".trial.", suffix=".part", dir=run))


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
            [sys.executable, "-P", "-m", "compressor.search.worker_process", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            env=environment,
            start_new_session=True,
        )
