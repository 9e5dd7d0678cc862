"""MLflow: a run per compression run, a nested run per trial; where to says ``MLFLOW_TRACKING_URI``, as ever.

A run that is gone on with goes on in the same MLflow run, which is found by the folder in its tags.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from compressor.track.tracker import RunEnded, RunStarted, TrialRecord

EXPERIMENT = "compressor"
"""Unless ``MLFLOW_EXPERIMENT_NAME`` says otherwise."""
KEY, DIGEST = "compressor.folder.sha256", "compressor.digest"
_NAME, _VALUE, _BATCH = 250, 500, 100
"""Letters of a name and of a value that MLflow takes, and entries it takes at once."""


class MlflowTracker:
    """Tells MLflow."""

    def __init__(self) -> None:
        self._client = MlflowClient()
        self._experiment = self._run = ""

    def begin(self, run: RunStarted) -> None:
        """Begin the run, or go on with it."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        self._experiment = self._client.create_experiment(name) if found is None else found.experiment_id
        folder = str(run.folder)
        key = hashlib.sha256(folder.encode()).hexdigest()[:16]  # a path may hold what a search takes for its own
        known = self._client.search_runs([self._experiment], f"tags.`{KEY}` = '{key}'", max_results=1)
        if known:
            self._run = known[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return
        tags = {KEY: key, "compressor.folder": folder, "compressor.model": run.source}
        self._run = self._client.create_run(self._experiment, run_name=run.folder.name, tags=tags).info.run_id
        self._log(self._run, params=run.params)

    def trial(self, trial: TrialRecord) -> None:
        """A nested run, over at once."""
        tags = {"mlflow.parentRunId": self._run, DIGEST: trial.digest, "status": trial.status, "plan": trial.about}
        made = self._client.create_run(self._experiment, run_name=f"trial {trial.number}", tags=tags)
        self._log(made.info.run_id, params=trial.params, metrics=trial.metrics, tags=trial.tags)
        self._client.set_terminated(made.info.run_id, "FAILED" if trial.status == "failed" else "FINISHED")

    def end(self, run: RunEnded) -> None:
        if self._run:
            self._log(self._run, metrics=run.metrics, tags=run.tags)
            self._client.set_terminated(self._run, "KILLED" if run.interrupted else "FINISHED")

    def _log(
        self,
        run: str,
        *,
        params: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        now = int(1000 * time.time())
        listed = [Param(_name(name), value[:_VALUE]) for name, value in (params or {}).items()]
        figures = [Metric(_name(name), value, now, 0) for name, value in (metrics or {}).items()]
        marks = [RunTag(_name(name), value[:_VALUE]) for name, value in (tags or {}).items()]
        for start in range(0, max(len(listed), 1), _BATCH):
            first = start == 0
            some = listed[start : start + _BATCH]
            self._client.log_batch(run, figures if first else (), some, marks if first else ())


def _name(name: str) -> str:
    """MLflow takes letters, digits, and few marks."""
    return re.sub(r"[^\w\-. /]", "_", name)[:_NAME]
