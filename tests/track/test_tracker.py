"""A tracker is told of every trial, and whatever it does the run neither waits for it nor ends."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sample_run import sample_run

from compressor.engine.candidate import OUTCOME
from compressor.errors import InputError
from compressor.search.observer import Event, Finished, Note, Stage, Started, TrialEnded
from compressor.search.run_folder import RunFolder
from compressor.track.observer import Tracked
from compressor.track.tracker import RunEnded, RunStarted, TrialRecord, tracker_named


class Heard:
    """A tracker and an observer in one, that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[RunStarted | TrialRecord | RunEnded] = []
        self.events: list[Event] = []
        self.threads: set[str] = set()

    def begin(self, run: RunStarted) -> None:
        self.threads.add(threading.current_thread().name)
        self.told.append(run)

    trial = end = begin  # type: ignore[assignment]

    def notify(self, event: Event) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.events.append(event)

    @property
    def notes(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Note)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return sample_run(tmp_path_factory.mktemp("tracked") / "run")


def events(run: RunFolder) -> list[Event]:
    """As the driver of this run would have sent them."""
    result = run.result()
    best = result.best
    assert best is not None
    folders = sorted(run.path.glob("candidates/*/"))
    ended = [
        TrialEnded(number, folder.name, f"plan {number}", OUTCOME.read(folder / "outcome.json"), None, number)
        for number, folder in enumerate(folders)
    ]
    again = replace(ended[0], number=99, duplicate_of=0)
    return [Stage("baseline"), Started(run.path, "digits-cnn", 4, 0), *ended, again, Finished(result, False)]


def test_it_is_told_of_the_run_its_trials_and_its_end(run: RunFolder) -> None:
    heard = Heard()
    with Tracked(heard, heard, run) as tracked:
        for event in events(run):
            tracked.notify(event)
    assert heard.events == events(run)  # and the observer of everything
    assert heard.notes == []
    begin, *trials, end = heard.told
    assert isinstance(begin, RunStarted)
    assert begin.folder == run.path
    assert begin.params["data.name"] == "digits"
    assert begin.params["phases[0].plugins[0].name"] == "binarize"
    records = {trial.digest: trial for trial in trials if isinstance(trial, TrialRecord)}
    assert len(records) == len(trials) == len(list(run.path.glob("candidates/*/")))  # none twice
    best = run.result().best
    assert best is not None
    record = records[best.digest]
    assert record.status == "complete"
    assert record.params["compress.binarize.conv1"]
    assert record.metrics["size_bytes"] == best.size_bytes
    assert record.metrics["latency.speedup"] == best.latency.speedup
    assert record.metrics["seconds.train"] == 4.0
    assert isinstance(end, RunEnded)
    assert not end.interrupted
    assert end.metrics["baseline.size_bytes"] == run.result().baseline.size_bytes
    assert end.tags["best.digest"] == best.digest
    assert heard.threads == {"tracker"}


def test_its_failure_is_said_once_and_ends_nothing(run: RunFolder) -> None:
    class Broken(Heard):
        def trial(self, trial: TrialRecord) -> None:
            raise ConnectionError("no server")

    broken, watching = Broken(), Heard()
    with Tracked(watching, broken, run) as tracked:
        for event in events(run):
            tracked.notify(event)
    assert [note for note in watching.notes if "no server" in note] == watching.notes
    assert len(watching.notes) == 1
    assert len(broken.told) == 1


def test_one_that_hangs_holds_up_nothing(run: RunFolder) -> None:
    free = threading.Event()

    class Hanging(Heard):
        def begin(self, run: RunStarted) -> None:
            free.wait(60)

    watching = Heard()
    with Tracked(watching, Hanging(), run, patience=0.1) as tracked:
        for event in events(run):
            tracked.notify(event)
    free.set()
    assert "had not taken everything" in watching.notes[0]


def test_a_run_that_an_error_ends_is_to_be_gone_on_with(run: RunFolder) -> None:
    heard = Heard()
    tracked = Tracked(heard, heard, run)
    with pytest.raises(OSError, match="disk"), tracked:
        raise OSError("disk")
    assert heard.told[-1] == RunEnded(interrupted=True)


def test_one_of_ones_own_is_named_by_module_and_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_tracker.py").write_text("class Mine:\n    pass\nclass Bad:\n    def __init__(self): 1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert type(tracker_named("my_tracker:Mine")).__name__ == "Mine"
    with pytest.raises(InputError, match="ZeroDivisionError"):
        tracker_named("my_tracker:Bad")
    with pytest.raises(InputError, match=r"there is mlflow, or one of your own as package\.module:Class"):
        tracker_named("wandb")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.delitem(sys.modules, "compressor.track.mlflow", raising=False)
    with pytest.raises(InputError, match=r"pip install 'compressor\[mlflow\]'"):
        tracker_named("mlflow")
