"""The pilot study within a run: arms side by side, none run twice, the gate, and every way to be interrupted."""

from __future__ import annotations

import json
import re
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
from compressor_plugins.redundancy.arms import SCORE, Arm, ArmScore
from search_support import run_here

from compressor.engine.candidate import Outcome
from compressor.engine.course import Progress
from compressor.errors import ForeignError, TrialError, WorkerLost
from compressor.pilot import ArmResult
from compressor.recipe.model import PilotSpec, Recipe
from compressor.recipe.read import write_recipe
from compressor.registry import PILOTS
from compressor.search.arms import ARM
from compressor.search.context import context
from compressor.search.driver import run_search
from compressor.search.executor import Job, JobResult, Question, TrialSpec
from compressor.search.observer import ArmEnded, Event, Finished, Note, PilotStarted, TrialStarted
from compressor.search.questions import respond
from compressor.search.result import RESULT
from compressor.search.run_folder import RunFolder

SPEC = PilotSpec("redundancy", {"tilings": ["DN", "MH", "GRI"], "sets": 2, "epochs": 1, "limit": 20})


class Arms:
    """Answers arms of the pilot study at once, with errors by tiling; what else comes is run for real."""

    def __init__(
        self, errors: dict[str, float], trouble: dict[int, BaseException] | None = None, *, real: bool = False
    ) -> None:
        self.real = real
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
        elif job.spec.kind == "arm" and not self.real:
            future.set_result(self._answer(job.spec))
        else:
            future.set_result(run_here(self.run, job, progress))
        return future

    def ask(self, question: Question) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(respond(question.about, context(str(self.run))))
        return future

    def _answer(self, spec: TrialSpec) -> JobResult:
        arm = Arm.called(spec.source)
        score = ArmScore(arm, self.errors[arm.tiling], 1.0, 0.1)
        result = ArmResult(SCORE.plain(score), seconds=score.seconds)
        return JobResult(Outcome("complete"), {"arm.json": ARM.to_json(result)})

    @property
    def arms(self) -> list[str]:
        return [spec.source for spec in self.seen if spec.kind == "arm"]

    def forget(self, spec: TrialSpec) -> None: ...

    def cancel_all(self) -> None: ...

    def close(self) -> None: ...


class Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def notify(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


def with_pilot(run: RunFolder, pilot: PilotSpec) -> None:
    write_recipe(replace(run.recipe(), pilot=pilot), run.path / "recipe.toml")


@pytest.fixture
def piloting(run: RunFolder, hold: Path) -> RunFolder:
    with_pilot(run, SPEC)
    return run


def go(run: RunFolder, executor: Arms) -> tuple[Finished, Recorder]:
    seen = Recorder()

    def make(run: RunFolder, _: Recipe) -> Arms:
        executor.run = run.path
        return executor

    return run_search(run, observer=seen, executor=make), seen


EQUAL = {"DN": 0.3, "MH": 0.3, "GRI": 0.3}
WORSE = {"DN": 0.3, "MH": 0.35, "GRI": 0.5}
"""The run ends with the study."""


def test_the_recipe_keeps_its_pilot_study(piloting: RunFolder) -> None:
    assert piloting.recipe().pilot == SPEC


def test_every_arm_is_run_and_the_search_follows(piloting: RunFolder) -> None:
    executor = Arms(EQUAL)
    finished, seen = go(piloting, executor)
    assert finished.result is not None
    assert finished.result.pilot is not None
    assert finished.result.pilot.found["dropped"] == 0.75
    assert len(executor.arms) == len(set(executor.arms)) == 6
    assert [spec.kind for spec in executor.seen[:6]] == ["arm"] * 6
    assert finished.result.trials.complete == 2
    assert [event.finished for event in seen.of(ArmEnded) if isinstance(event, ArmEnded)] == [1, 2, 3, 4, 5, 6]
    (started,) = seen.of(PilotStarted)
    assert started == PilotStarted(name="redundancy", arms=6, finished=0, trials=2, data="digits", trial_cost=200 / 20)
    assert RESULT.read(piloting.path / "result.json") == finished.result


def test_where_no_tiling_passes_nothing_is_searched(piloting: RunFolder) -> None:
    before = (piloting.baseline / "model.onnx").read_bytes()
    executor = Arms(WORSE)
    finished, seen = go(piloting, executor)
    assert not finished.interrupted
    plain = json.loads((piloting.path / "result.json").read_bytes())
    assert plain["verdict"]["helped"] is False
    assert plain["verdict"]["reasons"][0].startswith("the method does not apply to this data")
    assert plain["best"] is None
    assert plain["front"] == []
    assert plain["baseline"]["accuracy"]["test"] is None
    assert [row["name"] for row in plain["pilot"]["found"]["variants"]] == ["DN", "MH", "GRI"]
    assert seen.of(TrialStarted) == []
    assert not list(piloting.path.glob("candidates/*"))
    assert (piloting.baseline / "model.onnx").read_bytes() == before

    again, _ = go(piloting, second := Arms(EQUAL))  # the verdict stands
    assert second.seen == []
    assert again.result is not None
    assert again.result.verdict == finished.result.verdict if finished.result else False


def test_an_interrupted_study_goes_on_arm_by_arm(piloting: RunFolder) -> None:
    first = Arms(WORSE, {5: KeyboardInterrupt()})
    finished, _ = go(piloting, first)
    assert finished == Finished(None, True)
    assert not piloting.pilot.exists()
    finished, seen = go(piloting, second := Arms(WORSE))
    assert finished.result is not None
    assert finished.result.pilot is not None
    assert finished.result.pilot.arms == 6
    assert not set(first.arms[:4]) & set(second.arms)
    assert len(second.arms) == 2
    (started,) = seen.of(PilotStarted)
    assert isinstance(started, PilotStarted)
    assert started.finished == 4


def test_a_lost_process_is_replaced_and_a_broken_arm_is_told(piloting: RunFolder) -> None:
    executor = Arms(WORSE, {1: WorkerLost("killed"), 4: TrialError("it diverged")})
    finished, seen = go(piloting, executor)
    assert len(executor.arms) == 7
    assert finished.result is not None
    assert finished.result.pilot is not None
    assert len(finished.result.pilot.found["variants"]) == 2
    notes = [event.text for event in seen.of(Note) if isinstance(event, Note)]
    assert any("is run again: killed" in note for note in notes)
    assert any("gave nothing: it diverged" in note for note in notes)


def test_without_a_reference_there_is_no_verdict(piloting: RunFolder) -> None:
    with pytest.raises(TrialError, match="DN could not be trained"):
        go(piloting, Arms(EQUAL, {1: TrialError("it diverged")}))


PAGE = Path(__file__).parents[2] / "docs" / "write_a_plugin.md"


@pytest.mark.parametrize(("least", "begun"), [(0.0, True), (1.01, False)])
def test_anybodys_study_takes_part(run: RunFolder, hold: Path, install: Any, least: float, begun: bool) -> None:
    """The one that the page on writing plugins shows, from a package of its own."""
    (source,) = [code for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S) if "(Pilot)" in code]
    install("stranger", {"learnable": "strangers:Learnable"}, source, "strangers", group=PILOTS.group)
    with_pilot(run, PilotSpec("learnable", {"least": least}))
    finished, seen = go(run, executor := Arms({}, real=True))
    assert finished.result is not None
    assert finished.result.pilot is not None
    assert finished.result.pilot.applies is begun
    assert set(finished.result.pilot.found) == {"best"}
    assert executor.arms == ["first", "second"]
    assert bool(seen.of(TrialStarted)) is begun
    assert ("look at their labels" in finished.result.verdict.reasons[0]) is not begun


BROKEN = """
from dataclasses import dataclass
from compressor.pilot import Judgement, Pilot

@dataclass(frozen=True)
class Bad(Pilot):
    where: str = "arms"

    def arms(self):
        return [1 / 0] if self.where == "arms" else ["../up"] if self.where == "name" else ["a"]

    def run(self, arm, network, data, training, *, seed, progress):
        raise KeyError("no such thing")

    def judge(self, results, data):
        return Judgement(True, f"{len(results)} arms") if self.where == "run" else None
"""


@pytest.mark.parametrize(
    ("where", "message"),
    [("arms", "division by zero"), ("name", "names for folders"), ("judge", "AttributeError")],
)
def test_a_study_that_breaks_is_named(run: RunFolder, hold: Path, install: Any, where: str, message: str) -> None:
    install("stranger", {"bad": "bad_study:Bad"}, BROKEN, "bad_study", group=PILOTS.group)
    with_pilot(run, PilotSpec("bad", {"where": where}))
    with pytest.raises(ForeignError, match=f"pilot study 'bad' of stranger 1.0: .*{message}"):
        go(run, Arms({}, real=True))


def test_an_arm_that_breaks_ends_alone(run: RunFolder, hold: Path, install: Any) -> None:
    install("stranger", {"bad": "bad_study:Bad"}, BROKEN, "bad_study", group=PILOTS.group)
    with_pilot(run, PilotSpec("bad", {"where": "run"}))
    finished, seen = go(run, Arms({}, real=True))
    assert finished.result is not None
    assert finished.result.pilot is not None
    assert finished.result.pilot.reason == "0 arms"
    assert any("arm a gave nothing" in event.text and "no such thing" in event.text for event in seen.of(Note))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_ended_in_the_study_leaves_nobody_and_goes_on(piloting: RunFolder, hold: Path, number: int) -> None:
    hold.touch()
    drive = Path(__file__).parent / "drive.py"
    process = subprocess.Popen(
        [sys.executable, str(drive), str(piloting.path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
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
    assert not list(piloting.path.glob("pilot/*/arm.json"))

    hold.unlink()
    finished, _ = go(piloting, executor := Arms(WORSE))
    assert len(executor.arms) == 6
    assert finished.result is not None
    assert not finished.result.verdict.helped
