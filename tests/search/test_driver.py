"""Real drivers, ended in every way: nothing finished is lost, nobody is left behind, and ``run_search`` goes on."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from compressor.errors import RunFolderError
from compressor.search.clock import SPENT, Spent
from compressor.search.driver import run_search
from compressor.search.observer import Event, Finished, TrialEnded, TrialStarted
from compressor.search.run_folder import RunFolder

DRIVE = Path(__file__).parent / "drive.py"


class Driver:
    """A driver in a process of its own."""

    def __init__(self, run: RunFolder) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(DRIVE), str(run.path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.everyone: list[psutil.Process] = []

    def wait_for_training(self, hold: Path) -> None:
        """Until a trial trains; remembers every process there is then."""
        soon(lambda: hold.with_name("reached").exists() or self.process.poll() is not None)
        assert self.process.poll() is None, self.process.communicate()[0]
        self.everyone = psutil.Process(self.process.pid).children(recursive=True)
        assert len(self.everyone) == 4, "a worker, its guard, a trial, and what its training function started"

    def end(self, seconds: float = 240.0) -> str:
        output, _ = self.process.communicate(timeout=seconds)
        return str(output)

    def nobody_is_left(self) -> bool:
        return not psutil.wait_procs(self.everyone, timeout=60)[1]


def soon(condition: Callable[[], bool], seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def driver(run: RunFolder, hold: Path) -> Iterator[Driver]:
    hold.touch()
    driver = Driver(run)
    driver.wait_for_training(hold)
    yield driver
    driver.process.kill()


class Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def notify(self, event: Event) -> None:
        self.events.append(event)

    def count(self, kind: type) -> int:
        return sum(isinstance(event, kind) for event in self.events)


def resume(run: RunFolder) -> tuple[Finished, Recorder]:
    seen = Recorder()
    return run_search(run, observer=seen), seen


def test_a_killed_driver_leaves_no_orphan_and_goes_on(driver: Driver, run: RunFolder, hold: Path) -> None:
    driver.process.send_signal(signal.SIGKILL)
    driver.end()
    assert driver.nobody_is_left()
    (begun,) = (file.parent.name for file in run.path.glob("candidates/*/trial.json"))
    assert run.outcome(begun) is None
    (run.path / "candidates" / f".{begun}.abc.part").touch()
    (run.path / "checkpoints" / f"trial-{begun}-0").mkdir(parents=True)
    SPENT.write(run.clock, Spent(1000.0, math.inf))

    hold.unlink()
    finished, seen = resume(run)
    assert not (run.path / "checkpoints").exists()
    assert not finished.interrupted
    assert finished.result is not None
    assert finished.result.final
    assert finished.result.trials.complete == 2
    assert run.outcome(begun) is not None
    assert not list(run.path.rglob("*.part"))
    assert run.result() == finished.result
    assert seen.events[-1] == finished
    check_result(run)

    again, seen = resume(run)  # nothing left to do
    assert seen.count(TrialStarted) == 0
    assert again.result is not None
    assert again.result.best == finished.result.best
    assert 1000 < finished.result.seconds < again.result.seconds, "of all sessions"


def test_a_worker_that_is_still_importing_ends_with_its_driver(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import time\nopen(__file__ + '.begun', 'w').close()\ntime.sleep(3600)\n")
    code = (
        "import sys, time\n"
        "from compressor.search.local import _spawn\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "print(_spawn(1, None).pid, flush=True)\n"
        "time.sleep(3600)"
    )
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    worker = psutil.Process(int(driver.stdout.readline()))
    soon(lambda: (tmp_path / "torch.py.begun").exists())
    assert worker.is_running()
    driver.kill()
    driver.communicate()
    gone, left = psutil.wait_procs([worker], timeout=60)
    assert gone
    assert not left


def check_result(run: RunFolder) -> None:
    """``result.json`` has the names other programs rely on, and ``best/`` holds the best."""
    plain = json.loads((run.path / "result.json").read_bytes())
    assert {"helped", "reasons"} <= set(plain["verdict"])
    assert plain["notes"] == ["its weights are folded"]
    for entry in (plain["baseline"], plain["best"], *plain["front"]):
        assert {"params", "size_bytes", "macs", "accuracy", "latency", "plan"} <= set(entry)
        assert {"validation", "test", "onnx"} <= set(entry["accuracy"])
        assert entry["accuracy"] == entry["quality"]
        assert None not in entry["quality"].values()
        assert set(entry["latency"]) == {"us", "speedup", "low", "high"}
    assert (run.best / "model.onnx").stat().st_size == plain["best"]["size_bytes"]
    assert run.result().front[0].digest == plain["best"]["digest"]


def test_ctrl_c_once_finishes_what_runs(driver: Driver, run: RunFolder, hold: Path) -> None:
    driver.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert driver.process.poll() is None
    hold.unlink()
    output = driver.end()
    assert output.splitlines()[-1] == "interrupted"
    assert output.count("TrialStarted") == output.count("TrialEnded complete") == 1
    assert driver.nobody_is_left()
    result = run.result()
    assert not result.final
    assert not result.verdict.helped
    assert result.trials.complete == 1
    assert 0 < result.seconds <= SPENT.read(run.clock).seconds


def test_ctrl_c_twice_ends_it_and_keeps_the_values(driver: Driver, run: RunFolder, hold: Path) -> None:
    with pytest.raises(RunFolderError, match=f"in use by process {driver.process.pid}"):
        run_search(run)
    driver.process.send_signal(signal.SIGINT)
    time.sleep(2)  # two signals that meet would count as one
    driver.process.send_signal(signal.SIGINT)
    assert driver.end().splitlines()[-1] == "interrupted"
    assert driver.nobody_is_left()
    (begun,) = (file.parent.name for file in run.path.glob("candidates/*/trial.json"))

    hold.unlink()
    finished, seen = resume(run)
    digests = [event.digest for event in seen.events if isinstance(event, TrialEnded)]
    assert begun in digests
    assert finished.result is not None
    assert finished.result.trials.complete == 2
