"""Workers that come, go, fall silent or are of another version: the pool with workers that are no processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from compressor.engine.candidate import Outcome
from compressor.engine.course import Progress
from compressor.engine.plan import Plan
from compressor.errors import InputError, MachineError, TrialError, WorkerLost
from compressor.search.executor import Job, JobResult, Question, TrialSpec
from compressor.search.remote.pool import WorkerPool
from compressor.search.remote.shared import Shared
from compressor.search.remote.toolkit import Toolkit

HERE = Toolkit((("compressor", "1.0 (aa)"), ("plugin p", "2.0 (bb)")))
JOB = Job(TrialSpec(Plan(), number=3, seed=0))
DONE = JobResult(Outcome("complete"), {"weights": b"w"})


class Files:
    """What all jobs share."""

    def __init__(self) -> None:
        self.now = {"recipe.toml": "1"}

    def digests(self) -> dict[str, str]:
        return dict(self.now)

    def content(self, name: str) -> bytes:
        return name.encode()


class Remote:
    """A worker; without a ``machine`` there is no place for it yet. ``work`` is what it does with a job."""

    def __init__(self, toolkit: Toolkit = HERE, machine: bool = True, complaint: str = "") -> None:
        self.toolkit, self.machine, self.complaint = toolkit, machine, complaint
        self.work: Callable[[], Any] = lambda: DONE
        self.taken: list[str] = []
        self.ended = threading.Event()

    def hello(self) -> Toolkit | None:
        return self.toolkit if self.machine else None

    def take(self, name: str, data: bytes) -> str:
        self.taken.append(name)
        return self.complaint

    def run(self, job: Job, progress: Progress) -> JobResult:
        progress("train", 0.5)
        return cast(JobResult, self.work())

    def ask(self, question: Question) -> Any:
        return self.work()

    def leave(self) -> None:
        self.end()

    def end(self) -> None:
        self.ended.set()


class Cluster:
    """Hands out its workers in order, then places without a machine."""

    def __init__(self, *workers: Remote) -> None:
        self.files, self.said, self.all = Files(), list[str](), list[Remote]()
        self._next = list(workers)
        self._pool: WorkerPool | None = None

    def employ(self) -> Remote:
        self.all.append(self._next.pop(0) if self._next else Remote(machine=False))
        return self.all[-1]

    def pool(self, most: int = 1, patience: float = 5.0) -> WorkerPool:
        self._pool = WorkerPool(cast(Shared, self.files), self.employ, HERE, most, self.said.append, patience)
        return self._pool

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()


@pytest.fixture
def cluster() -> Iterator[Callable[..., Cluster]]:
    made: list[Cluster] = []

    def make(*workers: Remote) -> Cluster:
        made.append(Cluster(*workers))
        return made[-1]

    yield make
    for one in made:
        one.close()


def soon(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def gone() -> Any:
    raise WorkerLost("its machine is gone")


def test_what_is_shared_is_sent_once_and_again_where_it_has_grown(cluster: Callable[..., Cluster]) -> None:
    only = Remote()
    world = cluster(only)
    pool, stages = world.pool(), list[str]()
    assert pool.submit(JOB, lambda stage, share: stages.append(stage)).result() == DONE
    assert stages == ["train"]
    world.files.now["sensitivities.json"] = "2"
    for _ in range(2):
        assert pool.ask(Question("?")).result() == DONE
    assert only.taken == ["recipe.toml", "sensitivities.json"]


def test_a_machine_that_joins_is_used(cluster: Callable[..., Cluster]) -> None:
    late = Remote(machine=False)
    pool = cluster(Remote(), late).pool(most=2)
    assert pool.slots == 1
    late.machine = True
    soon(lambda: pool.slots == 2)


def test_a_lost_worker_is_replaced_and_what_it_says_later_is_heard_by_nobody(cluster: Callable[..., Cluster]) -> None:
    lost, next_one = Remote(), Remote()
    lost.work = gone
    pool = cluster(lost, next_one).pool()
    with pytest.raises(WorkerLost, match="its machine is gone"):
        pool.submit(JOB).result()
    assert lost.ended.is_set()
    assert pool.submit(JOB).result() == DONE
    assert not next_one.ended.is_set()


def test_what_one_machine_lacks_another_may_have(cluster: Callable[..., Cluster]) -> None:
    full = Remote()
    full.work = lambda: MachineError("No space left on device")
    pool = cluster(full, Remote()).pool()
    with pytest.raises(WorkerLost, match="No space left"):
        pool.submit(JOB).result()
    assert pool.submit(JOB).result() == DONE


def test_an_error_of_the_trial_is_raised_and_its_worker_stays(cluster: Callable[..., Cluster]) -> None:
    only = Remote()
    only.work = lambda: TrialError("ended with status 3")
    pool = cluster(only).pool()
    for _ in range(2):
        with pytest.raises(TrialError, match="ended with status 3"):
            pool.submit(JOB).result()
    assert not only.ended.is_set()


def test_another_version_is_refused_in_one_line(cluster: Callable[..., Cluster]) -> None:
    older = Toolkit((("compressor", "0.9 (cc)"),))
    line = r"compressor 1\.0 \(aa\) here, 0\.9 \(cc\) there; plugin p 2\.0 \(bb\) here, not installed there"
    with pytest.raises(InputError, match=f"^a worker is refused: {line}$"):
        cluster(Remote(older)).pool()
    world = cluster(Remote(), Remote(older))  # one that comes later is left out, and the others work
    pool = world.pool(most=2)
    soon(lambda: any("refused" in text for text in world.said))
    assert pool.slots == 1
    assert pool.submit(JOB).result() == DONE


def test_a_machine_for_which_the_recipe_means_nothing_is_refused(cluster: Callable[..., Cluster]) -> None:
    with pytest.raises(InputError, match=r"cannot use recipe\.toml: data\.table: /x is not there"):
        cluster(Remote(complaint="data.table: /x is not there")).pool()


def test_without_a_machine_nobody_waits_for_ever(cluster: Callable[..., Cluster]) -> None:
    with pytest.raises(InputError, match="no worker came"):
        cluster().pool(patience=0.1)
    only = Remote()
    only.work = gone
    pool = cluster(only).pool(patience=0.1)
    with pytest.raises(WorkerLost):
        pool.submit(JOB).result()
    with pytest.raises(MachineError, match="no worker was left"):
        pool.submit(JOB).result()


def test_ending_everything_ends_what_runs_and_others_take_over(cluster: Callable[..., Cluster]) -> None:
    busy = Remote()
    busy.work = lambda: busy.ended.wait(60) and gone()
    pool = cluster(busy, Remote()).pool()
    running = pool.submit(JOB)
    pool.cancel_all()
    with pytest.raises(WorkerLost):
        running.result()
    assert pool.submit(JOB).result() == DONE


def test_the_source_is_compared_and_not_only_the_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from compressor.search.remote import toolkit

    mine = toolkit.toolkit(["binarize"])
    assert dict(mine.parts)["plugin binarize"] != "not installed"
    assert mine.difference(toolkit.toolkit(["binarize"])) == ""
    monkeypatch.setattr(toolkit, "_digest", lambda module: "changed")
    assert "compressor" in mine.difference(toolkit.toolkit(["binarize"]))
