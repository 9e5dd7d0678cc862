"""After the search: the final measurement of the finalists, the choice of the best, the verdict, ``result.json``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from compressor.apart import apart
from compressor.data.dataset import Split
from compressor.engine.apply import rewrite_seconds, silence_of
from compressor.engine.candidate import Latency, Metrics
from compressor.engine.final import FINAL, Final, finalise, finalise_baseline
from compressor.engine.plan import Plan
from compressor.engine.trial import read_candidate
from compressor.errors import CompressorError, RunFolderError
from compressor.foreign import one_line
from compressor.search.clock import Clock
from compressor.search.front import best_first, finalists
from compressor.search.kept import kept
from compressor.search.ledger import Ledger
from compressor.search.observer import Note, Observer, Stage
from compressor.search.prepare import Prepared
from compressor.search.result import Candidate, PilotResult, RunResult, Verdict
from compressor.search.verdict import cautions, idle, judge
from compressor.stored import content
from compressor.task import Quality


def preliminary(prepared: Prepared, ledger: Ledger, clock: Clock) -> RunResult:
    """The result of an interrupted search: figures of the trials, and a verdict that commits to nothing."""
    front = tuple(ledger.front())
    return RunResult(
        verdict=Verdict(False, (f"interrupted; go on with: compressor resume {prepared.run.path}",)),
        baseline=Candidate.of(prepared.baseline.metrics, Plan()),
        best=front[0] if front else None,
        front=front[: prepared.recipe.measure.finalists],
        final=False,
        trials=ledger.counts,
        samples={"validation": len(prepared.data.validation)},
        seconds=clock.shown,
        normalisation=prepared.baseline.network.signature.normalisation,
        pilot=prepared.pilot,
        notes=prepared.baseline.network.notes,
        allowed_drop=prepared.judged_by.max_drop,
    )


def not_applicable(prepared: Prepared, pilot: PilotResult, clock: Clock) -> RunResult:
    """The result where the pilot study ended the run: the baseline as it is, and the test split left closed."""
    result = RunResult(
        verdict=Verdict(False, (pilot.reason,)),
        baseline=Candidate.of(prepared.baseline.metrics, Plan()),
        best=None,
        front=(),
        samples={"validation": len(prepared.data.validation)},
        seconds=clock.shown,
        normalisation=prepared.baseline.network.signature.normalisation,
        pilot=pilot,
        notes=prepared.baseline.network.notes,
    )
    return publish(prepared, result, {})


def judge_finalists(prepared: Prepared, ledger: Ledger, observer: Observer, clock: Clock) -> RunResult:
    """Open the test split, measure baseline and finalists for good, choose and judge.

    With a budget, as many finalists as there is time for, the best first and one at least.
    """
    recipe, base = prepared.recipe, prepared.baseline.metrics
    chosen = finalists(ledger.front(), base, recipe.objectives, recipe.measure.finalists)
    observer.notify(Stage("final", "baseline"))
    test = prepared.data.open_test()
    told = prepared.told
    baseline = Candidate.of(base, Plan()).settled(_measure_baseline(prepared, told.get(""), test, observer))
    measured: list[Candidate] = []
    failed: list[str] = []
    began = time.monotonic()
    for index, candidate in enumerate(chosen):
        if index and not clock.allows(time.monotonic() - began):
            observer.notify(Note(f"{len(chosen) - index} candidates are not measured for good: the budget"))
            break
        began = time.monotonic()
        observer.notify(Stage("final", candidate.about, (index + 1) / (len(chosen) + 1)))
        try:
            final = _measure(prepared, candidate, told.get(candidate.digest), test, observer)
            measured.append(candidate.settled(final))
        except (OSError, RunFolderError):  # of the run folder: told, and nothing is concluded from it
            raise
        except Exception as error:  # a plugin's leaf may raise anything; the other finalists are judged without it
            why = str(error) if isinstance(error, CompressorError) else one_line(error)
            failed.append(f"{candidate.digest} could not be measured for good: {why}")
            observer.notify(Note(failed[-1]))
    ranked = best_first(measured, baseline.metrics, prepared.judged_by)
    ranked.sort(key=lambda candidate: not _sound(candidate, baseline, prepared))
    best = ranked[0] if ranked else None
    nothing = Verdict(False, tuple(failed)) if best is None and failed else None
    return RunResult(
        verdict=replace(
            nothing or judge(best, baseline, prepared.judged_by, ledger.outcomes()),
            cautions=(
                *cautions(baseline, prepared.judged_by, prepared.data, test),
                *(idle(best, recipe.phases) if best is not None else ()),
            ),
        ),
        baseline=baseline,
        best=best,
        front=tuple(ranked),
        trials=ledger.counts,
        samples={"validation": len(prepared.data.validation), "test": len(test)},
        seconds=clock.shown,
        normalisation=prepared.baseline.network.signature.normalisation,
        pilot=prepared.pilot,
        notes=prepared.baseline.network.notes,
        allowed_drop=prepared.judged_by.max_drop,
    )


def publish(prepared: Prepared, result: RunResult, controls: Mapping[str, Quality]) -> RunResult:
    """Write ``best/`` and ``result.json``; returns the result as written."""
    result = replace(result, controls=dict(controls))
    if result.best is None:
        prepared.run.withdraw_best()
    else:
        prepared.run.publish_best(result.best.digest)
    prepared.run.write_result(result)
    return result


def _sound(candidate: Candidate, baseline: Candidate, prepared: Prepared) -> bool:
    """Whether ONNX Runtime computes what torch computes, and the limits hold for the final figures too.

    Selection looks at validation quality alone; the test split decides nothing but whether the file is right.
    """
    checks = candidate.checks
    excess = prepared.recipe.constraints.excess(candidate.metrics, baseline.metrics)
    return checks is not None and checks.parity_ok and checks.quality_ok and all(e <= 0 for e in excess.values())


def _measure(
    prepared: Prepared, candidate: Candidate, told: Candidate | None, test: Split, observer: Observer
) -> Final:
    """The final figures of the very files that lie in the candidate's folder now, read back or measured.

    ``told``: what an earlier result says of it. Where one file says this and another that, nothing is believed.
    """
    folder = prepared.run.candidate(candidate.digest)
    file = folder / "final.json"
    read_candidate(folder)
    known = _known(file, content(folder / "model.onnx"), prepared, observer)
    doubted = known is not None and not _undisputed(known, candidate.metrics, told)
    if known is not None and not doubted:
        return known
    if doubted:
        observer.notify(Note(f"{file}: contradicts other files of this run; {candidate.digest} is measured again"))
    recipe = prepared.recipe
    return apart(  # its plugins' code runs again
        lambda: finalise(
            folder,
            prepared.baseline,
            prepared.data,
            test,
            batch=recipe.measure.batch,
            calibration=recipe.data.calibration,
            seed=recipe.search.seed,
            doubted=doubted,
        ),
        silence=silence_of(recipe.limits.plugin_seconds),
        foreign=rewrite_seconds(recipe.limits.plugin_seconds, prepared.baseline.network, prepared.evidence),
    )


def _measure_baseline(prepared: Prepared, told: Candidate | None, test: Split, observer: Observer) -> Final:
    file = prepared.run.baseline / "final.json"
    known = _known(file, prepared.baseline.onnx, prepared, observer)
    if known is not None:
        if _undisputed(known, prepared.baseline.metrics, told):
            return known
        observer.notify(Note(f"{file}: contradicts other files of this run; the baseline is measured again"))
    final = finalise_baseline(prepared.baseline, prepared.data, test, batch=prepared.recipe.measure.batch)
    final = replace(final, metrics=replace(final.metrics, latency=Latency(final.metrics.latency.us)))
    FINAL.write(file, final)
    return final


def _undisputed(final: Final, metrics: Metrics, told: Candidate | None) -> bool:
    """Whether the final figures go with those of the search, and with what was told of them before."""
    return final.goes_with(metrics) and (told is None or told.tells(final))


def _known(file: Path, onnx: bytes, prepared: Prepared, observer: Observer) -> Final | None:
    """What was measured before, where it was measured on these bytes."""
    final = kept(lambda: FINAL.find(file), observer, instead="it is measured again")
    about = final is not None and final.is_about(onnx, prepared.baseline, prepared.recipe.measure.batch)
    return final if about else None
