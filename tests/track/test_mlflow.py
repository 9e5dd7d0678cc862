"""MLflow itself, with a store in a folder: a run per run, one per trial below it, and the same one when it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.track.tracker import RunEnded, RunStarted, TrialRecord

mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed: pip install 'compressor[mlflow]'")


def test_a_run_and_its_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from compressor.track.mlflow import EXPERIMENT, MlflowTracker

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    started = RunStarted(tmp_path / "it's a run", "net", {f"key[{n}]": "x" * 9000 for n in range(150)})
    tracker = MlflowTracker()
    tracker.begin(started)
    params, metrics = {"p.plugin.site[0]": "yes"}, {"latency.speedup": 1.5}
    tracker.trial(TrialRecord(0, "abc", "plan", "complete", params, metrics, {"reason": "x" * 9000}))
    tracker.trial(TrialRecord(1, "def", "plan", "failed"))
    tracker.end(RunEnded(interrupted=True))
    again = MlflowTracker()
    again.begin(started)
    again.end(RunEnded(False, {"size_bytes": 10.0}, {"helped": "true"}))

    client = mlflow.MlflowClient()
    found = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    runs = {run.info.run_name: run for run in found}
    assert set(runs) == {"it's a run", "trial 0", "trial 1"}
    whole, trial = runs["it's a run"], runs["trial 0"]
    assert (whole.info.status, trial.info.status, runs["trial 1"].info.status) == ("FINISHED", "FINISHED", "FAILED")
    assert len(whole.data.params) == 150
    assert whole.data.metrics == {"size_bytes": 10.0}
    assert trial.data.tags["mlflow.parentRunId"] == whole.info.run_id
    assert trial.data.params == {"p.plugin.site_0_": "yes"}
    assert trial.data.metrics == metrics
