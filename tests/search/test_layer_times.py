"""Times by layer are measured once per pair of files, shown for those files alone, and never end a run."""

from __future__ import annotations

from pathlib import Path

from sample_run import sample_run

from compressor.search.layer_times import read_layer_times, record_layer_times
from compressor.search.observer import Event, Note


class Heard:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def notify(self, event: Event) -> None:
        assert isinstance(event, Note)
        self.notes.append(event.text)


def test_they_are_measured_once_and_belong_to_their_files(tmp_path: Path) -> None:
    run, heard = sample_run(tmp_path / "run"), Heard()
    best = run.result().best
    assert best is not None
    before, after = ((folder / "model.onnx").read_bytes() for folder in (run.baseline, run.candidate(best.digest)))
    assert read_layer_times(run, before, after) is None
    record_layer_times(run, best.digest, 1, heard)
    found = read_layer_times(run, before, after)
    assert found is not None
    assert {"conv1", "fc1"} <= set(found.before)
    assert all(time >= 0 for time in (*found.before.values(), *found.after.values()))
    written = run.layers.stat().st_mtime_ns
    record_layer_times(run, best.digest, 1, heard)
    assert run.layers.stat().st_mtime_ns == written
    assert read_layer_times(run, before, before) is None
    assert heard.notes == []


def test_a_file_that_cannot_be_profiled_is_a_note(tmp_path: Path) -> None:
    run, heard = sample_run(tmp_path / "run"), Heard()
    (run.baseline / "model.onnx").write_bytes(b"no model")
    best = run.result().best
    assert best is not None
    record_layer_times(run, best.digest, 1, heard)
    assert not run.layers.exists()
    (note,) = heard.notes
    assert note.startswith("no times by layer")
