"""Tells a tracker what an observer is told, on a thread of its own: a slow or dead one holds up and ends no run."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from compressor.engine.candidate import METRICS, Metrics
from compressor.engine.plan import PLAN, Edit, Plan
from compressor.errors import DamagedFileError
from compressor.foreign import described
from compressor.recipe.flat import flat_items
from compressor.recipe.read import recipe_data
from compressor.search.observer import Event, Finished, Note, Observer, Started, TrialEnded
from compressor.search.run_folder import RunFolder
from compressor.track.tracker import RunEnded, RunStarted, Tracker, TrialRecord

PATIENCE_SECONDS = 60.0
"""How long the end of a run waits for a tracker that has not taken everything yet."""


class Tracked:
    """Passes every event on to ``observer``, and what is worth keeping to ``tracker``."""

    def __init__(
        self, observer: Observer, tracker: Tracker, run: RunFolder, patience: float = PATIENCE_SECONDS
    ) -> None:
        self._observer, self._tracker, self._run, self._patience = observer, tracker, run, patience
        self._waiting: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._failure = ""
        self._told = self._over = False
        self._thread = threading.Thread(target=self._work, name="tracker", daemon=True)
        self._thread.start()

    def __enter__(self) -> Tracked:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Where an error ended the run, the tracker is told that it is to be gone on with."""
        if not self._over:
            self._finish(RunEnded(interrupted=True))
            self._say()

    def notify(self, event: Event) -> None:
        """Never raises what the tracker raises."""
        self._observer.notify(event)
        match event:
            case Started():
                params = {name: str(value) for name, value in flat_items(recipe_data(self._run.recipe()))}
                started = RunStarted(self._run.path, event.source, params)
                self._waiting.put(lambda: self._tracker.begin(started))
            case TrialEnded(duplicate_of=None):
                record = _record(event, self._run)
                self._waiting.put(lambda: self._tracker.trial(record))
            case Finished():
                self._finish(_ended(event))
        self._say()

    def _finish(self, ended: RunEnded) -> None:
        self._over = True
        self._waiting.put(lambda: self._tracker.end(ended))
        self._waiting.put(None)
        self._thread.join(self._patience)
        if self._thread.is_alive():
            self._failure = self._failure or f"it had not taken everything {self._patience:g} s after the end"

    def _work(self) -> None:
        while (tell := self._waiting.get()) is not None:
            if self._failure:
                continue
            try:
                tell()
            except (Exception, SystemExit) as error:  # anybody's code, and a network behind it
                self._failure = described(error)

    def _say(self) -> None:
        """Once, and on the thread of the observer."""
        if self._failure and not self._told:
            self._told = True
            self._observer.notify(Note(f"the tracker is told no more: {self._failure}; the run goes on without it"))


def _record(event: TrialEnded, run: RunFolder) -> TrialRecord:
    outcome = event.outcome
    seconds = {f"seconds.{stage}": value for stage, value in outcome.seconds.items()}
    excess = {f"excess.{limit}": value for limit, value in outcome.excess.items()}
    return TrialRecord(
        event.number,
        event.digest,
        event.about,
        outcome.status,
        _edits(_plan(run, event.digest)),
        _finite({**(_figures(outcome.metrics) if outcome.metrics else {}), **seconds, **excess}),
        {"reason": outcome.reason} if outcome.reason else {},
    )


def _plan(run: RunFolder, digest: str) -> Plan:
    """As it was carried out; empty where that is not known."""
    try:
        return PLAN.find(run.candidate(digest) / "plan.json") or Plan() if digest else Plan()
    except DamagedFileError:
        return Plan()


def _edits(plan: Plan) -> dict[str, str]:
    """``phase.plugin.site`` and the choice made there."""
    return {
        f"{phase.name}.{step.plugin}.{step.site}": ", ".join(f"{k}={v}" for k, v in step.choice.items()) or "yes"
        for phase in plan.parts
        for step in phase.steps
        if isinstance(step, Edit)
    }


def _ended(event: Finished) -> RunEnded:
    result = event.result
    if result is None:
        return RunEnded(event.interrupted)
    tags = {"helped": str(result.verdict.helped).lower(), "verdict": " ".join(result.verdict.reasons)}
    if result.best is None:
        return RunEnded(event.interrupted, {}, tags)
    base = {f"baseline.{name}": value for name, value in _figures(result.baseline.metrics).items()}
    return RunEnded(
        event.interrupted,
        _finite({**_figures(result.best.metrics), **base}),
        {**tags, "best": result.best.about, "best.digest": result.best.digest},
    )


def _figures(metrics: Metrics) -> dict[str, Any]:
    return dict(flat_items(METRICS.plain(metrics)))


def _finite(figures: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among them, without those that are none."""
    known = {name: value for name, value in figures.items() if isinstance(value, int | float)}
    return {name: float(value) for name, value in known.items() if math.isfinite(value)}
