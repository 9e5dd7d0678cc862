"""Real workers: what is handed over and back, and what happens when a process ends in every way it can."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from search_support import run_here

from compressor.data.dataset import Data
from compressor.engine.candidate import Outcome
from compressor.engine.plan import Decision, Edit, Phase, Plan
from compressor.errors import DamagedFileError, MachineError, NoAnswer, WorkerLost
from compressor.search.executor import SPEC, Job, JobResult, Question, TrialSpec
from compressor.search.keeping import keep
from compressor.search.local import LocalExecutor
from compressor.search.questions import Resolved
from compressor.search.run_folder import RunFolder
from compressor.stored import digest_of
from compressor.train.spec import TrainingSpec

TRAINING = TrainingSpec(epochs=1, function="search_support:waiting_training")
PLAN = Plan((Phase("p", (Edit("binarize", "1"),), TRAINING),))


@pytest.fixture
def spec(run: RunFolder) -> TrialSpec:
    return TrialSpec(PLAN, number=7, seed=0)


@pytest.fixture
def executor(run: RunFolder) -> Iterator[LocalExecutor]:
    executor = LocalExecutor(run.path, 1)
    yield executor
    executor.cancel_all()
    executor.close()


def soon(condition: Callable[[], bool], seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def sessions_of(worker: psutil.Process) -> list[psutil.Process]:
    """The trials a worker runs: children that lead a session of their own. A process may end while it is looked at."""
    try:
        return [child for child in worker.children() if os.getsid(child.pid) == child.pid]
    except (psutil.NoSuchProcess, ProcessLookupError):
        return []


def test_a_spec_survives_json(spec: TrialSpec) -> None:
    assert SPEC.validate_json(SPEC.dump_json(spec)) == spec


def test_the_life_of_a_worker(executor: LocalExecutor, run: RunFolder, spec: TrialSpec, hold: Path) -> None:
    """Everything in one test, since a worker takes a second to start."""
    stages: list[str] = []
    before = sorted(run.path.rglob("*"))
    result = executor.submit(Job(spec), lambda stage, share: stages.append(stage)).result()
    assert result.outcome.status == "complete"
    assert {"build", "screen", "measure"} <= set(stages)
    assert set(result.files) == {"log.txt", "plan.json", "weights.safetensors", "model.onnx"}
    assert sorted(run.path.rglob("*")) == sorted([*before, run.path / "workers.log"])  # the driver writes, nobody else
    (worker,) = psutil.Process().children()

    hold.with_name("reached").unlink()
    about = Resolved(Plan((Phase("p", (Decision("binarize", "spread", {"count": 1}),)),)))
    answer = executor.ask(Question(about, 60.0)).result()
    assert [edit.plugin for edit in answer.edits] == ["binarize"]
    with pytest.raises(NoAnswer, match=r"took longer than 0\.001 s"):
        executor.ask(Question(about, 0.001)).result()
    assert worker.is_running()

    hold.touch()  # a trial that is killed is lost, with its own children, and its worker lives on
    killed = executor.submit(Job(spec))
    soon(hold.with_name("reached").exists)
    (trial,) = sessions_of(worker)
    trial.send_signal(signal.SIGKILL)
    with pytest.raises(WorkerLost, match="trial 7 was ended by SIGKILL"):
        killed.result()
    assert worker.is_running()

    late = executor.submit(Job(replace(spec, timeout=0.5))).result().outcome
    assert late.status == "failed"
    assert "longer than the 0.5 s" in late.reason
    soon(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)

    lost = executor.submit(Job(spec))  # by a new worker
    soon(lambda: any(sessions_of(child) for child in psutil.Process().children()))
    everyone = psutil.Process().children(recursive=True)
    executor.cancel_all()
    with pytest.raises(WorkerLost):
        lost.result(timeout=120)
    _, alive = psutil.wait_procs(everyone, timeout=60)
    assert not alive


SLEEPY = """
import time
from dataclasses import dataclass
from typing import ClassVar
from torch import nn
from compressor.plugin import Plugin, Promise, Site

@dataclass(frozen=True)
class Sleepy(Plugin):
    'Never comes to an end.'
    where: str = "rewrite"
    promise: ClassVar[Promise] = Promise.TRAINED
    def sites(self, network):
        yield Site("1")
    def rewrite(self, editor, site, choice):
        if self.where == "rewrite":
            time.sleep(3600)
        old = editor.network.leaf("1")
        layer = nn.Linear(old.in_features, old.out_features)
        layer.register_forward_pre_hook(lambda *_: time.sleep(3600))
        editor.replace("1", layer)
"""


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("rewrite", r"plugin 'sleepy' of sleepy-plugins 1\.0, site 1: took longer than .* s it may take"),
        ("layer", r"hangs: not one batch in 5 s"),
    ],
)
def test_a_plugin_that_hangs_in_a_trial_is_that_plugin_s_failure(
    executor: LocalExecutor, spec: TrialSpec, install: Callable[..., None], run: RunFolder, where: str, reason: str
) -> None:
    """Told, with the limit; the worker goes on with the next trial."""
    install("sleepy-plugins", {"sleepy": "sleepy:Sleepy"}, SLEEPY, "sleepy")
    recipe = run.path / "recipe.toml"
    recipe.write_text(re.sub(r"plugin_seconds = .*", "plugin_seconds = 0.5", recipe.read_text()))
    plan = Plan((Phase("p", (Edit("sleepy", "1", options={"where": where}),), TrainingSpec(epochs=0)),))
    outcome = executor.submit(Job(replace(spec, plan=plan))).result(timeout=240).outcome
    assert outcome.status == "failed"
    assert re.search(reason, outcome.reason)
    (worker,) = psutil.Process().children()
    healthy = Plan((Phase("p", (Edit("binarize", "1"),), TrainingSpec(epochs=0)),))
    assert executor.submit(Job(replace(spec, plan=healthy))).result().outcome.status == "complete"
    assert psutil.Process().children() == [worker]


def test_a_full_disk_is_no_failure_of_the_trial(
    executor: LocalExecutor, run: RunFolder, spec: TrialSpec, hold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))  # the worker inherits it
    try:
        with pytest.raises(MachineError, match="trial 7: File too large"):
            executor.submit(Job(spec)).result()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(run.path.rglob("*.part"))
    with closing(LocalExecutor(run.path, 1)) as roomy:
        assert roomy.submit(Job(spec)).result().outcome.status == "complete"


def test_a_trial_killed_as_it_writes_its_result_is_lost_and_leaves_nothing(
    executor: LocalExecutor, run: RunFolder, spec: TrialSpec, hold: Path
) -> None:
    """Half of a file is none: the search hears of a lost worker, and the same trial run again is whole."""
    training = replace(TRAINING, function="search_support:killed_as_it_writes")
    job = Job(replace(spec, plan=Plan((replace(PLAN.phases[0], training=training),))))
    hold.touch()
    before = sorted(run.path.rglob("*"))
    with pytest.raises(WorkerLost, match="trial 7 was ended by SIGKILL"):
        executor.submit(job).result()
    assert sorted(run.path.rglob("*")) == sorted({*before, run.path / "workers.log"})
    hold.unlink()
    assert set(executor.submit(job).result().files) == {"log.txt", "plan.json", "weights.safetensors", "model.onnx"}


def test_a_trial_that_is_cut_off_goes_on_with_its_training(
    executor: LocalExecutor, run: RunFolder, spec: TrialSpec
) -> None:
    """As its number changes when it is proposed again, so it is another job; what comes of it is what would have."""
    plan = Plan((Phase("p", (Edit("binarize", "1"),), TrainingSpec(epochs=300, restore_best=False)),))
    lost = executor.submit(Job(replace(spec, plan=plan)))
    soon(lambda: any(run.path.glob("checkpoints/*/*.pt")))
    (worker,) = psutil.Process().children()
    (trial,) = sessions_of(worker)
    trial.send_signal(signal.SIGKILL)
    with pytest.raises(WorkerLost):
        lost.result()

    again = Job(replace(spec, plan=plan, number=8))
    result = executor.submit(again).result()
    executor.forget(again.spec)
    (went_on,) = re.findall(r"goes on after epoch (\d+)", result.files["log.txt"].decode())
    assert 0 < int(went_on) < 300
    assert len(result.outcome.curve) == 300
    assert not (run.path / "checkpoints").exists()
    whole = run_here(run.path, Job(replace(spec, plan=plan)))
    assert result.files["weights.safetensors"] == whole.files["weights.safetensors"]


BREAKS_OFF = """
import os, signal, sys
sys.stdin.readline()
os.write(1, b'{"pid": 0}\\n{"answer": "gASVl')
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_killed_in_the_middle_of_an_answer_has_given_none(
    executor: LocalExecutor, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def launch() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", BREAKS_OFF], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    (worker,) = executor._workers
    monkeypatch.setattr(worker, "_start", launch)
    with pytest.raises(WorkerLost, match="vanished while it answered"):
        executor.ask(Question(Resolved(PLAN), 60.0)).result()
    with pytest.raises(WorkerLost, match="trial 7 was ended with its worker"):
        executor.submit(Job(spec)).result()


def test_what_a_trial_raises_is_its_outcome(run: RunFolder, spec: TrialSpec) -> None:
    training = replace(TRAINING, function="search_support:failing_training")
    plan = Plan((replace(PLAN.phases[0], training=training),))
    result = run_here(run.path, Job(replace(spec, plan=plan)))
    assert result.outcome.status == "failed"
    assert "search_support:failing_training failed: ZeroDivisionError: no such luck (" in result.outcome.reason
    assert "search_support.py, line " in result.outcome.reason
    keep(run.candidate("x"), result)
    assert run.outcome("x") == result.outcome


def test_a_file_that_was_changed_on_its_way_is_not_kept(run: RunFolder) -> None:
    result = JobResult(Outcome("complete", files={"plan.json": digest_of(b"as it was")}), {"plan.json": b"changed"})
    with pytest.raises(DamagedFileError, match=r"plan\.json: what came back from the worker is not what it wrote"):
        keep(run.candidate("x"), result)
    assert run.outcome("x") is None


def test_workers_never_open_the_test_split(run: RunFolder, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLD", str(run.path / "absent"))
    monkeypatch.setattr(Data, "open_test", lambda data: pytest.fail("the test split was read"))
    assert run_here(run.path, Job(spec)).outcome.status == "complete"
