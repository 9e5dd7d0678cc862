"""The final measurement of a candidate: the test split, opened now, and the ONNX file itself.

Numerics and quality are checked on ONNX Runtime with the bytes that will be shipped, the latency by the full paired
protocol, and the file against torch's own exporter where that works.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compressor.data.dataset import Data, Split
from compressor.engine.baseline import Baseline
from compressor.engine.candidate import OUTCOME, Latency, Metrics
from compressor.engine.figures import figures
from compressor.engine.trial import load_candidate, read_candidate
from compressor.errors import TrialError
from compressor.graph.nested import Nested, map_tensors
from compressor.graph.network import Network
from compressor.measure.crosscheck import cross_check
from compressor.measure.latency import FULL, NOT_SLOWER, Comparison, compare
from compressor.measure.parity import numeric_parity
from compressor.measure.quality import onnx_quality
from compressor.stored import Figure, Stored, content, digest_of
from compressor.task import Metric, Quality
from compressor.train.evaluate import evaluate

QUALITY_TOLERANCE = 0.2
"""ONNX Runtime may score at most this share of a usual drop below torch on the same samples."""
_BATCH = 256
"""Test samples that are in memory as floats at a time."""


@dataclass(frozen=True)
class Final:
    """The figures a candidate is judged by. ``metrics.quality`` is complete here."""

    metrics: Metrics
    parity_error: Figure
    """Largest absolute difference of outputs, ONNX Runtime against torch, relative to the output scale."""
    parity_ok: bool
    quality_ok: bool
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

    def goes_with(self, metrics: Metrics) -> bool:
        """Whether it says what the earlier figures of the same file say, and does not contradict itself."""
        own = self.metrics
        quality = own.quality
        return (
            (own.params, own.macs, own.size_bytes) == (metrics.params, metrics.macs, metrics.size_bytes)
            and repr(_before(quality)) == repr(_before(metrics.quality))  # where a figure that is none is like itself
            and self.quality_ok == _holds(quality.measured, quality.test, quality.onnx)
        )


def finalise_baseline(baseline: Baseline, data: Data, test: Split, *, batch: int = 1) -> Final:
    """The baseline's own final figures."""
    return _final(baseline.network, baseline.onnx, baseline.metrics, baseline, data, test, batch, seed=0)


def finalise(
    folder: Path,
    baseline: Baseline,
    data: Data,
    test: Split,
    *,
    batch: int = 1,
    calibration: int = 512,
    seed: int = 0,
    doubted: bool = False,
) -> Final:
    """Measure the candidate in ``folder`` for good, and write ``final.json`` beside it.

    ``doubted``: the figures of its trial contradict others, and are measured again too. Raises ``DamagedFileError``
    where its files are not what its trial wrote.
    """
    outcome = read_candidate(folder)
    metrics = outcome.metrics
    if metrics is None or outcome.status == "screened":
        raise TrialError(f"{folder.name}: a candidate that was {outcome.status} has no final measurement")
    network = load_candidate(folder, baseline, baseline.evidence(data, calibration))
    onnx = content(folder / "model.onnx")
    if doubted:
        score = evaluate(network, data, data.validation, error=True)
        quality = Quality.of(data.task.metric, score.quality, score.error, score.parts)
        metrics = figures(network, onnx, quality, metrics.latency)
        OUTCOME.write(folder / "outcome.json", replace(outcome, metrics=metrics))
    final = _final(network, onnx, metrics, baseline, data, test, batch, seed)
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
    scored = evaluate(network, data, test, error=True)
    task = data.task.fitted(network)
    on_onnx = onnx_quality(onnx, as_fed(network, data, test), task, nest=network.signature.nested, batch=_BATCH)
    batches = data.calibration_batches(256)
    parity = numeric_parity(network, onnx, batches)
    check = cross_check(network, onnx, batches)
    timing = compare(baseline.onnx, onnx, batch=batch, protocol=FULL, seed=seed, mark=NOT_SLOWER)
    return Final(
        metrics=replace(
            metrics,
            size_bytes=len(onnx),
            quality=replace(metrics.quality, test=scored.quality, test_error=scored.error, onnx=on_onnx),
            latency=_latency(timing),
        ),
        parity_error=parity.max_error,
        parity_ok=parity.ok,
        quality_ok=_holds(task.metric, scored.quality, on_onnx),
        cross_check=check.status if check.status == "agrees" else f"{check.status}: {check.detail}",
        rounds=timing.rounds,
        wall_us=timing.candidate_wall_us,
        wall_p90_us=timing.candidate_p90_us,
        load=timing.load,
        batch=batch,
        model=digest_of(onnx),
        baseline=digest_of(baseline.onnx),
    )


def _before(quality: Quality) -> Quality:
    """What was known of it before the test split was opened."""
    return replace(quality, test=None, onnx=None, test_error=None)


def _holds(metric: Metric, test: float | None, onnx: float | None) -> bool:
    """Whether ONNX Runtime scores what torch scores."""
    if test is None or onnx is None:
        return False
    return metric.drop(test, onnx) <= QUALITY_TOLERANCE * metric.point(test)


def as_fed(network: Network, data: Data, split: Split) -> Iterator[tuple[Nested, Any]]:
    """The batches of a split as the network's file takes them: raw where the normalisation is folded into it."""
    known = network.signature.normalisation
    folded = known is not None and known.folded
    for inputs, target in split.batches(_BATCH):
        yield (map_tensors(_as_float, inputs) if folded else data.normalised(inputs)), target


def _as_float(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.uint8 else tensor


def _latency(timing: Comparison) -> Latency:
    return Latency(timing.candidate_us, timing.speedup, timing.low, timing.high)


FINAL: Stored[Final] = Stored(Final)
