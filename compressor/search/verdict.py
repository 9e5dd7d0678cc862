"""Did it really help? The answer and its reasons, from the final figures alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from torch import Tensor

from compressor.engine.candidate import Constraints, Outcome, in_units
from compressor.engine.chance import EVIDENT, chance_of
from compressor.search.front import NOT_SLOWER, allowed_drop
from compressor.search.result import Candidate, Verdict

FASTER = 1.02
"""A speed-up whose 95 % interval begins above this is called one."""
_ROUNDING = 1e-9


def judge(
    best: Candidate | None, baseline: Candidate, constraints: Constraints, outcomes: Iterable[Outcome]
) -> Verdict:
    """The verdict on the best candidate after the final measurement; ``outcomes`` explain why there is none."""
    if best is None:
        return Verdict(False, (why_nothing(outcomes),))
    against = tuple(objections(best, baseline, constraints))
    return Verdict(False, against) if against else Verdict(True, tuple(gains(best, baseline)))


def objections(best: Candidate, baseline: Candidate, constraints: Constraints) -> Iterator[str]:
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
    for name, excess in constraints.excess(best.metrics, baseline.metrics).items():
        if not excess <= _ROUNDING:
            limit = f"{name} = {getattr(constraints, name):g}"
            yield f"the limit {limit} is overstepped by {excess:.3g} ({in_units(name, excess)})"
    yield from _accuracy_objections(best, baseline, constraints)
    yield from _onnx_objections(best)


def _accuracy_objections(best: Candidate, baseline: Candidate, constraints: Constraints) -> Iterator[str]:
    """The limit holds for unseen samples too, on the ONNX files themselves."""
    limit = allowed_drop(constraints)
    if baseline.accuracy.onnx is None or best.accuracy.onnx is None:
        yield "the test accuracy in ONNX Runtime is not known"
    elif not (drop := baseline.accuracy.onnx - best.accuracy.onnx) <= limit + _ROUNDING:
        yield (
            f"test accuracy in ONNX Runtime fell by {100 * drop:.2f} points "
            f"({_percent(baseline.accuracy.onnx)} to {_percent(best.accuracy.onnx)}), {100 * limit:g} are allowed"
        )
    held = baseline.accuracy.validation - best.accuracy.validation <= limit
    if constraints.max_accuracy_drop is None and not held:
        yield f"validation accuracy fell by more than {100 * limit:g} points, and the recipe sets no other limit"


def _onnx_objections(best: Candidate) -> Iterator[str]:
    if best.checks is None:
        yield "the final measurement was not made"
        return
    if not best.checks.parity_ok:
        yield f"ONNX Runtime computes something else than torch (relative error {best.checks.parity_error:.2g})"
    if not best.checks.accuracy_ok:
        yield (
            f"accuracy did not hold in ONNX Runtime: {_percent(best.accuracy.onnx)}, "
            f"in torch {_percent(best.accuracy.test)}"
        )
    if best.checks.cross_check.startswith("differs"):
        yield f"torch's own ONNX exporter gives a network that {best.checks.cross_check}"


def gains(best: Candidate, baseline: Candidate) -> Iterator[str]:
    """What was gained, in plain words."""
    yield f"{baseline.size_bytes / best.size_bytes:.1f}× smaller: {best.size_bytes:,} bytes of {baseline.size_bytes:,}"
    interval = f"{best.latency.speedup:.2f}× ({best.latency.low:.2f} to {best.latency.high:.2f})"
    yield f"faster: {interval}" if best.latency.low > FASTER else f"as fast: {interval}"
    yield f"test accuracy in ONNX Runtime {_percent(best.accuracy.onnx)}, before {_percent(baseline.accuracy.onnx)}"


def cautions(baseline: Candidate, constraints: Constraints, validation: Tensor, test: Tensor) -> Iterator[str]:
    """What makes the verdict less certain than it sounds; ``validation``, ``test``: labels ``(N,)`` of the splits."""
    accuracy, limit = baseline.accuracy.validation, abs(allowed_drop(constraints))
    chance = chance_of(validation)
    if chance.holds(accuracy):
        yield (
            f"the baseline itself is no better than chance: {_percent(accuracy)} on validation images, of which "
            f"{_percent(chance.share)} are of one class; what keeps its accuracy keeps nothing"
        )
        return
    tested = baseline.accuracy.test
    if tested is not None and _apart(accuracy, len(validation), tested, len(test)):
        yield (
            f"the baseline is right for {_percent(accuracy)} of the validation images and {_percent(tested)} of the "
            "test images: was it trained on the validation images? Then they tell little; give it others"
        )
    for name, labels, share in (("validation", validation, accuracy), ("test", test, baseline.accuracy.onnx)):
        error = math.sqrt(2 * (share or 0.0) * (1 - (share or 0.0)) / len(labels))
        if error > limit > 0:
            yield (
                f"the {name} split is too small for its limit: with {len(labels):,} images the difference of two "
                f"accuracies has a standard error of up to {100 * error:.1f} points, and {100 * limit:g} are allowed"
            )


def _apart(high: float, many: int, low: float, few: int) -> bool:
    """Whether ``high`` of ``many`` samples exceeds ``low`` of ``few`` others by more than chance explains."""
    error = math.sqrt(high * (1 - high) / many + low * (1 - low) / few)
    return high - low > max(EVIDENT * error, _ROUNDING)


def why_nothing(outcomes: Iterable[Outcome]) -> str:
    """Why no candidate is left: what most trials met."""
    limits: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    total = 0
    for outcome in outcomes:
        total += 1
        over = [name for name, excess in outcome.excess.items() if excess > 0]
        limits.update(over)
        if not over and outcome.status in ("failed", "stopped"):
            failures[outcome.reason] += 1
    if limits:
        name, count = limits.most_common(1)[0]
        return f"no candidate keeps within the limits: {name} ruled out {count} of {total} trials"
    if failures:
        reason, count = failures.most_common(1)[0]
        return f"no candidate: {count} of {total} trials ended early, most often with: {reason}"
    return "no candidate: no trial was finished"


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.2f} %"
