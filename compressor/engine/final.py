"""The final measurement of a candidate: the test split, opened now, and the ONNX file itself.

Numerics and accuracy are checked on ONNX Runtime with the bytes that will be shipped, the latency by the full paired
protocol, and the file against torch's own exporter where that works.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from compressor.data.dataset import Data, Split
from compressor.engine.baseline import Baseline
from compressor.engine.candidate import Latency, Metrics
from compressor.engine.trial import load_candidate, read_candidate
from compressor.errors import TrialError
from compressor.graph.network import Network
from compressor.measure.accuracy import onnx_accuracy_over
from compressor.measure.crosscheck import cross_check
from compressor.measure.latency import FULL, Comparison, compare
from compressor.measure.parity import numeric_parity
from compressor.stored import Figure, Stored, content, digest_of
from compressor.train.evaluate import evaluate

ACCURACY_TOLERANCE = 0.002
"""ONNX Runtime may score at most this much (absolute) below torch on the same images."""
_BATCH = 256
"""Test images that are in memory as floats at a time."""


@dataclass(frozen=True)
class Final:
    """The figures a candidate is judged by. ``metrics.accuracy`` is complete here."""

    metrics: Metrics
    parity_error: Figure
    """Largest absolute difference of outputs, ONNX Runtime against torch, relative to the output scale."""
    parity_ok: bool
    accuracy_ok: bool
    cross_check: str
    """``agrees``, ``differs: …`` or ``unavailable: …``."""
    rounds: int
    """Paired rounds behind the latency interval."""
    wall_us: Figure
    wall_p90_us: Figure
    load: Figure
    """Load average while timing."""
    batch: int
    """Samples per call when timing."""
    model: str
    """SHA-256 of the ONNX file these figures are about."""
    baseline: str
    """SHA-256 of the baseline's ONNX file, which it was timed against."""

    def is_about(self, onnx: bytes, baseline: Baseline, batch: int) -> bool:
        """Whether this was measured on these bytes, beside this baseline, in this way."""
        return (self.model, self.baseline, self.batch) == (digest_of(onnx), digest_of(baseline.onnx), batch)


def finalise_baseline(baseline: Baseline, data: Data, test: Split, *, batch: int = 1) -> Final:
    """The baseline's own final figures."""
    return _final(baseline.network, baseline.onnx, baseline.metrics, baseline, data, test, batch, seed=0)


def finalise(
    folder: Path, baseline: Baseline, data: Data, test: Split, *, batch: int = 1, calibration: int = 512, seed: int = 0
) -> Final:
    """Measure the candidate in ``folder`` for good, and write ``final.json`` beside it.

    Raises ``DamagedFileError`` where its files are not what its trial wrote.
    """
    outcome = read_candidate(folder)
    if outcome.metrics is None or outcome.status == "screened":
        raise TrialError(f"{folder.name}: a candidate that was {outcome.status} has no final measurement")
    network = load_candidate(folder, baseline, baseline.evidence(data, calibration))
    onnx = content(folder / "model.onnx")
    final = _final(network, onnx, outcome.metrics, baseline, data, test, batch, seed)
    FINAL.write(folder / "final.json", final)
    return final


def _final(
    network: Network,
    onnx: bytes,
    metrics: Metrics,
    baseline: Baseline,
    data: Data,
    test: Split,
    batch: int,
    seed: int,
) -> Final:
    known = network.signature.normalisation
    folded = known is not None and known.folded
    scored = evaluate(network, data, test).accuracy
    parts = ((images.float() if folded else data.normalised(images), labels) for images, labels in test.batches(_BATCH))
    on_onnx = onnx_accuracy_over(onnx, parts, _BATCH)
    batches = data.calibration_batches(256)
    parity = numeric_parity(network, onnx, batches)
    check = cross_check(network, onnx, batches)
    timing = compare(baseline.onnx, onnx, batch=batch, protocol=FULL, seed=seed)
    return Final(
        metrics=replace(
            metrics,
            size_bytes=len(onnx),
            accuracy=replace(metrics.accuracy, test=scored, onnx=on_onnx),
            latency=_latency(timing),
        ),
        parity_error=parity.max_error,
        parity_ok=parity.ok,
        accuracy_ok=on_onnx >= scored - ACCURACY_TOLERANCE,
        cross_check=check.status if check.status == "agrees" else f"{check.status}: {check.detail}",
        rounds=timing.rounds,
        wall_us=timing.candidate_wall_us,
        wall_p90_us=timing.candidate_p90_us,
        load=timing.load,
        batch=batch,
        model=digest_of(onnx),
        baseline=digest_of(baseline.onnx),
    )


def _latency(timing: Comparison) -> Latency:
    return Latency(timing.candidate_us, timing.speedup, timing.low, timing.high)


FINAL: Stored[Final] = Stored(Final)
