"""The probe within a run: arms side by side, none run twice, the gate, and every way to be interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from search_support import run_here

from compressor.engine.candidate import Outcome
from compressor.errors import TrialError, WorkerLost
from compressor.probe.arms import ARM, SCORE, ArmScore
from compressor.probe.spec import ProbeSpec
from compressor.recipe.model import Recipe
from compressor.recipe.read import write_recipe
from compressor.search.context import context
from compressor.search.driver import optimize
from compressor.search.executor import Job, JobResult, Progress, Question, TrialSpec
from compressor.search.observer import ArmEnded, Event, Finished, Note, ProbeStarted, TrialStarted
from compressor.search.questions import respond
from compressor.search.result import RESULT
from compressor.search.run_folder import RunFolder

SPEC = ProbeSpec(tilings=("DN", "MH", "GRI"), sets=2, epochs=1, limit=20)


class Arms:
    """An executor that answers arms of the probe at once, with errors by tiling; what else comes is run for real."""

    def __init__(self, errors: dict[str, float], trouble: dict[int, BaseException] | None = None) -> None:
        self.slots = 2
        self.run = Path()
        self.errors, self.trouble = errors, trouble or {}
        self.seen: list[TrialSpec] = []

    def submit(self, job: Job, progress: Progress | None = None) -> Future[JobResult]:
        self.seen.append(job.spec)
        future: Future[JobResult] = Future()
        trouble = self.trouble.get(len(self.seen))
        if isinstance(trouble, KeyboardInterrupt):
            raise trouble
        if trouble is not None:
            future.set_exception(trouble)
        elif job.spec.kind == "probe":
            future.set_result(self._answer(job.spec))
        else:
            future.set_result(run_here(self.run, job, progress))
        return future

    def ask(self, question: Question) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(respond(question.about, context(str(self.run))))
        return future

    def _answer(self, spec: TrialSpec) -> JobResult:
        arm = ARM.validate_json(spec.source)
        score = ArmScore(arm, self.errors[arm.tiling], 1.0, 0.1)
        return JobResult(Outcome("complete"), {"score.json": SCORE.to_json(score)})

    @property
    def arms(self) -> list[str]:
        return [ARM.validate_json(spec.source).name for spec in self.seen if spec.kind == "probe"]

    def cancel_all(self) -> None: ...

    def close(self) -> None: ...


class Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def notify(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


def with_probe(run: RunFolder, probe: ProbeSpec) -> None:
    write_recipe(replace(run.recipe(), probe=probe), run.path / "recipe.toml")


@pytest.fixture
def probing(run: RunFolder, hold: Path) -> RunFolder:
    with_probe(run, SPEC)
    return run


def go(run: RunFolder, executor: Arms) -> tuple[Finished, Recorder]:
    seen = Recorder()

    def make(run: RunFolder, _: Recipe) -> Arms:
        executor.run = run.path
        return executor

    return optimize(run, observer=seen, executor=make), seen


EQUAL = {"DN": 0.3, "MH": 0.3, "GRI": 0.3}
WORSE = {"DN": 0.3, "MH": 0.35, "GRI": 0.5}
"""The run ends with the probe."""


def test_the_recipe_keeps_its_probe(probing: RunFolder) -> None:
    assert probing.recipe().probe == SPEC


def test_every_arm_is_run_and_the_search_follows(probing: RunFolder) -> None:
    executor = Arms(EQUAL)
    finished, seen = go(probing, executor)
    assert finished.result is not None
    assert finished.result.probe is not None
    assert finished.result.probe.dropped == 0.75
    assert len(executor.arms) == len(set(executor.arms)) == 6
    assert [spec.kind for spec in executor.seen[:6]] == ["probe"] * 6
    assert finished.result.trials.complete == 2
    assert [event.finished for event in seen.of(ArmEnded) if isinstance(event, ArmEnded)] == [1, 2, 3, 4, 5, 6]
    (started,) = seen.of(ProbeStarted)
    assert started == ProbeStarted(arms=6, finished=0, trials=2, data="digits", trial_cost=200 / 20)
    assert RESULT.read(probing.path / "result.json") == finished.result


def test_where_no_tiling_passes_nothing_is_searched(probing: RunFolder) -> None:
    before = (probing.baseline / "model.onnx").read_bytes()
    executor = Arms(WORSE)
    finished, seen = go(probing, executor)
    assert not finished.interrupted
    plain = json.loads((probing.path / "result.json").read_bytes())
    assert plain["verdict"]["helped"] is False
    assert plain["verdict"]["reasons"][0].startswith("the method does not apply to this data")
    assert plain["best"] is None
    assert plain["front"] == []
    assert plain["baseline"]["accuracy"]["test"] is None
    assert [row["name"] for row in plain["probe"]["variants"]] == ["DN", "MH", "GRI"]
    assert seen.of(TrialStarted) == []
    assert not list(probing.path.glob("candidates/*"))
    assert (probing.baseline / "model.onnx").read_bytes() == before

    again, _ = go(probing, second := Arms(EQUAL))  # the verdict stands
    assert second.seen == []
    assert again.result is not None
    assert again.result.verdict == finished.result.verdict if finished.result else False


def test_an_interrupted_probe_goes_on_arm_by_arm(probing: RunFolder) -> None:
    first = Arms(WORSE, {5: KeyboardInterrupt()})
    finished, _ = go(probing, first)
    assert finished == Finished(None, True)
    assert not probing.probe.exists()
    finished, seen = go(probing, second := Arms(WORSE))
    assert finished.result is not None
    assert finished.result.probe is not None
    assert finished.result.probe.arms == 6
    assert not set(first.arms[:4]) & set(second.arms)
    assert len(second.arms) == 2
    (started,) = seen.of(ProbeStarted)
    assert isinstance(started, ProbeStarted)
    assert started.finished == 4


def test_a_lost_process_is_replaced_and_a_broken_arm_is_told(probing: RunFolder) -> None:
    executor = Arms(WORSE, {1: WorkerLost("killed"), 4: TrialError("it diverged")})
    finished, seen = go(probing, executor)
    assert len(executor.arms) == 7
    assert finished.result is not None
    assert finished.result.probe is not None
    assert len(finished.result.probe.variants) == 2
    notes = [event.text for event in seen.of(Note) if isinstance(event, Note)]
    assert any("is run again: killed" in note for note in notes)
    assert any("gave nothing: it diverged" in note for note in notes)


def test_without_a_reference_there_is_no_verdict(probing: RunFolder) -> None:
    with pytest.raises(TrialError, match="DN could not be trained"):
        go(probing, Arms(EQUAL, {1: TrialError("it diverged")}))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_ended_in_the_probe_leaves_nobody_and_goes_on(probing: RunFolder, hold: Path, number: int) -> None:
    hold.touch()
    drive = Path(__file__).parent / "drive.py"
    process = subprocess.Popen(
        [sys.executable, str(drive), str(probing.path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        deadline = time.monotonic() + 240
        while not hold.with_name("reached").exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert process.poll() is None, process.communicate()[0]
        everyone = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        output, _ = process.communicate(timeout=240)
    finally:
        process.kill()
    assert not psutil.wait_procs(everyone, timeout=60)[1]
    assert number == signal.SIGKILL or output.splitlines()[-1] == "interrupted"
    assert not list(probing.path.glob("probe/*/score.json"))

    hold.unlink()
    finished, _ = go(probing, executor := Arms(WORSE))
    assert len(executor.arms) == 6
    assert finished.result is not None
    assert not finished.result.verdict.helped
