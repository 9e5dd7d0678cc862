"""Ray carries the jobs: one actor per worker, placed wherever a processor is free.

An actor that dies is not started again by Ray, nor is its job: the driver does both, since it alone knows what is still
wanted. An actor that waits for a processor stays asked for, so that a machine that joins is used.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from compressor.engine.course import Progress
from compressor.engine.space import uses_of
from compressor.errors import CompressorError, InputError, WorkerLost
from compressor.recipe.model import Recipe
from compressor.search.executor import Job, JobResult, Question, TrialSpec
from compressor.search.remote.host import Host
from compressor.search.remote.pool import PATIENCE, WorkerPool
from compressor.search.remote.shared import Shared
from compressor.search.remote.toolkit import Toolkit, toolkit
from compressor.search.run_folder import RunFolder

SILENCE = 60.0
"""Seconds without a word after which a worker counts as lost, though its connection stands."""
_LISTEN = 1.0
_FAREWELL = 5.0
_LOST_WORDS = 200


class RayExecutor:
    """The workers of one run in a Ray cluster: ``ray`` starts one here or joins the one that this machine belongs to,
    ``ray://HOST:PORT`` is a client of another.

    ``recipe.search.jobs`` workers of ``recipe.search.threads`` processors are asked for.
    """

    def __init__(
        self, run: RunFolder, recipe: Recipe, address: str, *, silence: float = SILENCE, patience: float = PATIENCE
    ) -> None:
        import ray

        self._ray: Any = ray
        self._began = _connect(ray, address)
        plugins = [use.name for _, use in uses_of(recipe.phases)]
        threads = recipe.search.threads
        actor = ray.remote(num_cpus=threads, max_restarts=0, max_task_retries=0, max_concurrency=4)(Host)
        log = run.path / "workers.log"
        try:
            self._pool = WorkerPool(
                Shared(run),
                lambda: _RayWorker(ray, actor.remote(threads), plugins, silence),
                toolkit(plugins),
                recipe.search.jobs,
                lambda text: _log(log, text),
                patience,
            )
        except BaseException:
            self._disconnect()
            raise

    @property
    def slots(self) -> int:
        return self._pool.slots

    def submit(self, job: Job, progress: Progress | None = None) -> Any:
        return self._pool.submit(job, progress)

    def ask(self, question: Question) -> Any:
        return self._pool.ask(question)

    def forget(self, spec: TrialSpec) -> None:
        """Nothing: a trial that was cut off begins anew, since it may be run again on any machine."""

    def cancel_all(self) -> None:
        self._pool.cancel_all()

    def close(self) -> None:
        self._pool.close()
        self._disconnect()

    def _disconnect(self) -> None:
        if self._began:
            self._ray.shutdown()


class _RayWorker:
    """A ``Host`` as an actor."""

    def __init__(self, ray: Any, actor: Any, plugins: Sequence[str], silence: float) -> None:
        self._ray, self._actor, self._silence = ray, actor, silence
        self._hello = actor.hello.remote(plugins)

    def hello(self) -> Toolkit | None:
        done, _ = self._ray.wait([self._hello], timeout=0)
        return cast(Toolkit, self._get(self._hello)) if done else None

    def take(self, name: str, data: bytes) -> str:
        return cast(str, self._await(self._actor.take.remote(name, data)))

    def run(self, job: Job, progress: Progress) -> JobResult:
        return cast(JobResult, self._await(self._actor.run.remote(job), progress))

    def ask(self, question: Question) -> Any:
        return self._await(self._actor.ask.remote(question))

    def leave(self) -> None:
        try:
            self._ray.wait([self._actor.leave.remote()], timeout=_FAREWELL)
        except Exception:  # as below
            return
        finally:
            self.end()

    def end(self) -> None:
        try:
            self._ray.kill(self._actor)
        except Exception:  # it is gone, or the cluster is
            return

    def _await(self, answer: Any, progress: Progress = lambda stage, share: None) -> Any:
        """The answer, with a sign of life asked for meanwhile."""
        told, heard = ("", 0.0), time.monotonic()
        pulse = None
        while True:
            done, _ = self._ray.wait([answer], timeout=_LISTEN)
            if done:
                return self._get(answer)
            pulse = self._actor.progress.remote() if pulse is None else pulse
            if self._ray.wait([pulse], timeout=0)[0]:
                now = self._get(pulse)
                pulse, heard = None, time.monotonic()
                if now != told:
                    told = now
                    progress(*now)
            elif time.monotonic() - heard > self._silence:
                raise WorkerLost(f"a worker has not been heard of for {self._silence:.0f} s")

    def _get(self, answer: Any) -> Any:
        try:
            return self._ray.get(answer)
        except CompressorError:
            raise
        except Exception as error:  # of many kinds: the actor died, its node did, it could not be made
            text = " ".join(str(error).split())
            raise WorkerLost(f"a worker was lost ({type(error).__name__}: {text[:_LOST_WORDS]})") from None


def _connect(ray: Any, address: str) -> bool:
    """Whether this process was connected by it. Raises ``InputError`` where no cluster answers."""
    if ray.is_initialized():
        return False
    place = {} if address == "ray" else {"address": address}
    quiet = {} if place else {"include_dashboard": False}
    try:
        ray.init(**place, **quiet, log_to_driver=False, logging_level="error", namespace="compressor")
    except Exception as error:  # of many kinds
        text = " ".join(str(error).split())
        raise InputError(f"executor {address}: no Ray cluster answers ({text[:_LOST_WORDS]})") from None
    return True


def _log(file: Path, text: str) -> None:
    with file.open("a") as out:
        out.write(f"{time.strftime('%H:%M:%S')} {text}\n")
