"""Did it really help? The answer and its reasons, from the final figures alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from compressor.data.dataset import Data, Split
from compressor.engine.candidate import Constraints, Outcome, in_units
from compressor.engine.space import PhaseSpec
from compressor.measure.latency import NOT_SLOWER
from compressor.search.result import Candidate, Verdict
from compressor.task import Quality
from compressor.task.paired import EVIDENT, no_better

FASTER = 1.02
"""A speed-up whose 95 % interval begins above this is called one."""
_ROUNDING = 1e-9


def judge(best: Candidate | None, baseline: Candidate, limits: Constraints, outcomes: Iterable[Outcome]) -> Verdict:
    """The verdict on the best candidate after the final measurement; ``outcomes`` explain why there is none.

    ``limits``: with what the metric may lose, whoever says it.
    """
    if best is None:
        return Verdict(False, (why_nothing(outcomes),))
    against = tuple(objections(best, baseline, limits))
    return Verdict(False, against) if against else Verdict(True, tuple(gains(best, baseline)))


def objections(best: Candidate, baseline: Candidate, limits: Constraints) -> Iterator[str]:
    """Everything that speaks against the candidate, in plain words."""
    if not best.plan.edits:
        yield "the model was not changed"
    if best.size_bytes >= baseline.size_bytes:
        yield f"not smaller: {best.size_bytes:,} bytes, the baseline has {baseline.size_bytes:,}"
    if not best.latency.low > NOT_SLOWER:
        yield (
            f"slower, or not shown to be as fast: it runs at {best.latency.speedup:.2f}× the baseline's speed "
            f"({best.latency.low:.2f} to {best.latency.high:.2f})"
        )
    for name, excess in limits.excess(best.metrics, baseline.metrics).items():
        if not excess <= _ROUNDING:
            limit = f"{name} = {getattr(limits, name):g}"
            yield f"the limit {limit} is overstepped by {excess:.3g} ({in_units(name, excess, best.quality.measured)})"
    yield from _quality_objections(best, baseline, limits.max_drop)
    yield from _onnx_objections(best)


def _quality_objections(best: Candidate, baseline: Candidate, limit: float | None) -> Iterator[str]:
    """The limit holds for unseen samples too, on the ONNX files themselves."""
    before, after, metric = baseline.quality, best.quality, baseline.quality.measured
    if before.onnx is None or after.onnx is None:
        yield f"the test {metric.name} in ONNX Runtime is not known"
    elif limit is not None and not (lost := metric.drop(before.onnx, after.onnx)) <= limit + _ROUNDING:
        yield (
            f"test {metric.name} in ONNX Runtime is worse by {metric.difference(lost)} "
            f"({before.show('onnx')} to {after.show('onnx')}), {metric.difference(limit)} are allowed"
        )


def _onnx_objections(best: Candidate) -> Iterator[str]:
    if best.checks is None:
        yield "the final measurement was not made"
        return
    if not best.checks.parity_ok:
        yield f"ONNX Runtime computes something else than torch (relative error {best.checks.parity_error:.2g})"
    if not best.checks.quality_ok:
        yield (
            f"{best.quality.metric} did not hold in ONNX Runtime: {best.quality.show('onnx')}, "
            f"in torch {best.quality.show('test')}"
        )
    if best.checks.cross_check.startswith("differs"):
        yield f"torch's own ONNX exporter gives a network that {best.checks.cross_check}"


def gains(best: Candidate, baseline: Candidate) -> Iterator[str]:
    """What was gained, in plain words."""
    yield f"{baseline.size_bytes / best.size_bytes:.1f}× smaller: {best.size_bytes:,} bytes of {baseline.size_bytes:,}"
    interval = f"{best.latency.speedup:.2f}× ({best.latency.low:.2f} to {best.latency.high:.2f})"
    yield f"faster: {interval}" if best.latency.low > FASTER else f"as fast: {interval}"
    before, after = baseline.quality.show("onnx"), best.quality.show("onnx")
    yield f"test {best.quality.metric} in ONNX Runtime {after}, before {before}"


def idle(best: Candidate, phases: Iterable[PhaseSpec]) -> Iterator[str]:
    """What the recipe requires and did nothing to the candidate."""
    for phase in phases:
        yield from idle(best, phase.phases)
        edited = {
            edit.plugin
            for part in (part for whole in best.plan.phases for part in whole.parts)
            if part.name.split(".")[-1] == phase.name
            for edit in part.steps
        }
        for use in phase.plugins:
            if use.required and use.name not in edited:
                yield (
                    f"{use.name} is required in phase {phase.name!r} and changed nothing: its sites were refused "
                    "there, or an earlier phase left none"
                )


def cautions(baseline: Candidate, limits: Constraints, data: Data, test: Split) -> Iterator[str]:
    """What makes the verdict less certain than it sounds."""
    quality, metric = baseline.quality, baseline.quality.measured
    limit = abs(limits.max_drop or 0.0)
    guess = data.task.guess(data, data.validation)
    if guess is not None and no_better(metric, quality.validation, guess):
        yield (
            f"the baseline itself is no better than chance: {metric.name} {quality.show('validation')} on validation "
            f"data, where {guess.about} has {metric.text(guess.value)}; what keeps its quality keeps nothing"
        )
        return
    if _apart(quality):
        yield (
            f"{metric.name} of the baseline is {quality.show('validation')} on validation data and of "
            f"{quality.show('test')} on test data: was it trained on the validation samples? Then they tell little; "
            "give it others"
        )
    for name, split, error in (
        ("validation", data.validation, quality.error),
        ("test", test, quality.test_error),
    ):
        spread = math.sqrt(2) * (error or 0.0)
        if spread > limit > 0:
            yield (
                f"the {name} split is too small for its limit: with {len(split):,} samples the difference of two "
                f"results has a standard error of up to {metric.difference(spread)}, and {metric.difference(limit)} "
                "are allowed"
            )


def _apart(quality: Quality) -> bool:
    """Whether the validation figure is better than the test figure by more than chance explains."""
    if quality.test is None or quality.error is None or quality.test_error is None:
        return False
    lost = quality.measured.drop(quality.validation, quality.test)
    return lost > max(EVIDENT * math.hypot(quality.error, quality.test_error), _ROUNDING)


def why_nothing(outcomes: Iterable[Outcome]) -> str:
    """Why no candidate is left: what most trials met."""
    limits: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    nearest: dict[str, Outcome] = {}
    total = 0
    for outcome in outcomes:
        total += 1
        over = [name for name, excess in outcome.excess.items() if excess > 0]
        limits.update(over)
        for name in over:
            nearest[name] = min(nearest.get(name, outcome), outcome, key=lambda known: known.excess[name])
        if not over and outcome.status in ("failed", "stopped"):
            failures[outcome.reason] += 1
    if limits:
        (name, count), *others = limits.most_common()
        more = "".join(f", {other} {number}" for other, number in others)
        ruled_out = f"no candidate keeps within the limits: {name} ruled out {count} of {total} trials{more}"
        return f"{ruled_out}{_figures(nearest[name])}"
    if failures:
        reason, count = failures.most_common(1)[0]
        return f"no candidate: {count} of {total} trials ended early, most often with: {reason}"
    return "no candidate: no trial was finished; resume the run with more time (--budget)"


def _figures(nearest: Outcome) -> str:
    """What the plan that came nearest to a limit would have been."""
    if nearest.metrics is None:
        return ""
    latency = nearest.metrics.latency
    return (
        f"; the nearest to it has {nearest.metrics.size_bytes:,} bytes and runs at {latency.speedup:.2f}× the "
        f"baseline's speed ({latency.low:.2f} to {latency.high:.2f})"
    )
