"""One entry for a fresh run and for one that goes on: everything it needs is in the run folder.

prepare → pilot study → propose and run trials → final measurement → control arms → result.json, best/
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace

from compressor.recipe.model import Recipe
from compressor.search.calibration import calibration_of
from compressor.search.clock import SPENT, Clock
from compressor.search.conclude import judge_finalists, not_applicable, preliminary, publish
from compressor.search.controls import run_controls
from compressor.search.estimate import estimate
from compressor.search.executor import Executor
from compressor.search.executors import executor_of
from compressor.search.interrupts import Interrupts
from compressor.search.kept import kept
from compressor.search.layer_times import record_layer_times
from compressor.search.ledger import Ledger
from compressor.search.loop import SearchLoop
from compressor.search.observer import Event, Finished, FrontChanged, Note, Observer, Silent, Stage, Started
from compressor.search.piloting import run_pilot
from compressor.search.prepare import Prepared, prepare_search, with_sensitivities
from compressor.search.result import Calibration, RunResult
from compressor.search.run_folder import RunFolder
from compressor.search.seeds import seeds_of
from compressor.search.study import Study

ExecutorFactory = Callable[[RunFolder, Recipe], Executor]


def run_search(
    run: RunFolder,
    *,
    observer: Observer | None = None,
    executor: ExecutorFactory = executor_of,
    more: float | None = None,
    since: float | None = None,
) -> Finished:
    """Carry the run in ``run`` to its end, from wherever it stands. ``more``: a new budget, seconds from now on.
    ``since``: when what counts against the budget began (``time.monotonic``), where that is earlier.

    Never raises ``KeyboardInterrupt``: an interrupted run returns with ``interrupted`` set and can be called again.
    Raises ``InputError`` when model, data and recipe do not fit, or when another process has the folder.
    """
    observer = observer or Silent()
    since = time.monotonic() if since is None else since
    with run.lock(), Interrupts() as interrupts:
        run.sweep()
        result, interrupted = None, False
        try:
            result, interrupted = _carry_on(run, observer, executor, interrupts, more, since)
        except KeyboardInterrupt:
            interrupted = True
        if result is not None:
            run.write_result(result)
    finished = Finished(result, interrupted)
    observer.notify(finished)
    return finished


def _carry_on(
    run: RunFolder,
    observer: Observer,
    make_executor: ExecutorFactory,
    interrupts: Interrupts,
    more: float | None,
    since: float,
) -> tuple[RunResult | None, bool]:
    recipe = run.recipe()
    spent = kept(lambda: SPENT.find(run.clock), observer, instead="the budget begins anew")
    clock = Clock(recipe, run.clock, spent, more, since=since)
    observer = _Counting(observer, clock)
    with ExitStack() as stack:
        stack.callback(clock.save)
        executor = make_executor(run, recipe)  # first: workers start up while the baseline is measured
        stack.callback(executor.close)
        stack.callback(executor.cancel_all)
        prepared = prepare_search(run, recipe, observer)
        pilot = run_pilot(prepared, executor, observer)
        if pilot is not None and not pilot.applies:
            return not_applicable(prepared, pilot, clock), False
        prepared = with_sensitivities(replace(prepared, pilot=pilot), executor, observer, clock.allows_measuring)
        study = Study(run.study, recipe, prepared.space)
        stack.callback(study.close)
        stack.enter_context(study.errors())
        if study.set_aside is not None:
            observer.notify(
                Note(f"{run.study.name} was damaged and lies in {study.set_aside.name} now; ended trials are kept")
            )
        ledger = _begin(prepared, study, observer, clock)
        keeping = _Keeping(prepared, ledger, observer, clock)
        with interrupts.gentle():
            SearchLoop(prepared, study, ledger, executor, keeping, interrupts, clock).run()
        if interrupts.stop:
            return preliminary(prepared, ledger, clock), True
        calibration = calibration_of(study.records(), ledger, prepared.baseline.metrics)
        result = _finish(prepared, ledger, executor, observer, clock, calibration)
        if not study.has_queued():
            run.forget_trials()
        return replace(result, seconds=clock.shown), False


class _Counting:
    """Writes the time down as things happen, so that a session that is killed has taken its time too."""

    def __init__(self, observer: Observer, clock: Clock) -> None:
        self._observer, self._clock = observer, clock

    def notify(self, event: Event) -> None:
        self._clock.keep_up()
        self._observer.notify(event)


class _Keeping:
    """Writes what is known whenever the front changes, so that a run that is killed leaves a front that can be used."""

    def __init__(self, prepared: Prepared, ledger: Ledger, observer: Observer, clock: Clock) -> None:
        self._prepared, self._ledger, self._observer, self._clock = prepared, ledger, observer, clock

    def notify(self, event: Event) -> None:
        self._observer.notify(event)
        if isinstance(event, FrontChanged) and event.front:
            self._prepared.run.write_result(preliminary(self._prepared, self._ledger, self._clock))


def _begin(prepared: Prepared, study: Study, observer: Observer, clock: Clock) -> Ledger:
    """Queue the seeds of a new study, and say where the run stands."""
    queued = study.origins()
    seeds, notes = seeds_of(prepared.recipe.search, prepared.space)
    for note in notes:
        observer.notify(Note(note))
    for name, values in seeds:
        if name not in queued:
            study.enqueue(values, origin=name)
    ledger = Ledger.read(prepared, study, observer)
    if clock.limited or prepared.recipe.search.sampler == "surrogate":
        clock.expect(estimate(prepared.recipe, prepared.baseline.network, prepared.data).trial)
    trials = _expected(prepared, ledger, observer, clock) if clock.limited else prepared.recipe.search.trials
    observer.notify(
        Started(
            folder=prepared.run.path,
            source=prepared.run.source(),
            trials=trials,
            finished=ledger.finished,
            constraints=tuple(_limits(prepared)),
            left=clock.left if clock.limited else 0.0,
        )
    )
    observer.notify(Stage("search", _stages(prepared)))
    return ledger


def _expected(prepared: Prepared, ledger: Ledger, observer: Observer, clock: Clock) -> int:
    """How many trials there will be in all, as far as a few steps of training tell; said, since it is a promise."""
    search = prepared.recipe.search
    more = max(int(clock.for_trials * search.jobs / max(clock.trial_seconds, 1e-3)), 0)
    more = min(more, search.trials - ledger.finished) if search.trials else more
    untrained = "what needs no training, then " if search.begins_untrained else ""
    observer.notify(
        Note(
            f"{clock.left:.0f} s of the budget are left: {untrained}about {more} {'trial' if more == 1 else 'trials'} "
            f"of {clock.trial_seconds:.0f} s, then the final measurement"
        )
    )
    return ledger.finished + more


def _finish(
    prepared: Prepared,
    ledger: Ledger,
    executor: Executor,
    observer: Observer,
    clock: Clock,
    calibration: Calibration | None,
) -> RunResult:
    result = replace(judge_finalists(prepared, ledger, observer, clock), calibration=calibration)
    result = publish(prepared, result, {})
    if result.best is None:
        return result
    record_layer_times(prepared.run, result.best.digest, prepared.recipe.measure.batch, observer)
    controls = dict(run_controls(prepared, result.best, executor, observer, clock))
    return publish(prepared, result, controls) if controls else result


def _stages(prepared: Prepared) -> str:
    """Behind a pilot study the phases are its next stages: ``stages 2 and 3 of 3: mask, student``."""
    names = [phase.name for phase in prepared.space.phases]
    if prepared.pilot is None or not names:
        return ""
    last = len(names) + 1
    numbers = "stage 2" if last == 2 else f"stages 2 to {last}" if last > 3 else "stages 2 and 3"
    return f"{numbers} of {last}: {', '.join(names)}"


def _limits(prepared: Prepared) -> Iterator[str]:
    """What is stated, and what the metric usually may lose where nothing is: said, since the verdict rests on it."""
    stated = asdict(prepared.recipe.constraints)
    for name, limit in asdict(prepared.judged_by).items():
        if stated[name] is not None:
            yield f"{name} = {limit:g}"
        elif limit is not None:
            yield f"{name} = {limit:.3g} for the verdict (usual for {prepared.data.task.metric.name})"
