"""How the figures came about, in sentences, with their numbers."""

from __future__ import annotations

from collections.abc import Iterator

from compressor.measure.latency import FULL, NOT_SLOWER, QUICK
from compressor.report import text
from compressor.report.gather import Facts
from compressor.search.result import Checks


def method(facts: Facts) -> list[str]:
    """One paragraph per subject."""
    return list(_paragraphs(facts))


def _paragraphs(facts: Facts) -> Iterator[str]:
    result = facts.result
    yield (
        "Sizes are bytes of the ONNX file. Parameters and multiply-accumulates (MACs) are counted for one sample; they "
        "are shown beside the bytes and the time, never instead of them."
    )
    yield (
        "The search saw training and validation data only. "
        + (
            "The test split was opened once, after the search, for the finalists and the baseline."
            if result.final and "test" in result.samples
            else "The test split has not been opened."
            if result.final and result.pilot is not None and not result.pilot.applies
            else "The test split has not been opened: the figures are those of the search."
        )
        + "".join(f" {split.capitalize()}: {text.count(number)} samples." for split, number in result.samples.items())
    )
    yield (
        "Times are thread CPU times of one call in ONNX Runtime on one thread, taken side by side with the baseline in "
        "random order. A speed-up is the median of the paired ratios; its 95 % interval spans the order statistics, "
        f"the sessions and a floor of {100 * FULL.floor:g} %. Trials are timed in "
        f"{text.plural(QUICK.sessions, 'session')}, finalists in {FULL.sessions}, and {FULL.more_sessions} more where "
        f"the interval lies across {NOT_SLOWER:g}×."
    )
    if result.best is not None and result.best.checks is not None:
        yield _checks(result.best.checks)
    yield "A candidate that oversteps a limit of size, MACs or time is screened out before it is trained."


def _checks(checks: Checks) -> str:
    parity = "within" if checks.parity_ok else "outside"
    quality = "scores what the network scores" if checks.quality_ok else "scores less than the network"
    return (
        f"The best candidate: {checks.rounds} paired rounds; wall time {text.micros(checks.wall_us)} in the median and "
        f"{text.micros(checks.wall_p90_us)} at the 90th percentile. Its ONNX file differs from the network by "
        f"{checks.parity_error:.1e} of the output scale, {parity} the tolerance, and {quality} on the test split. "
        f"Against torch's own exporter: {checks.cross_check}."
    )
