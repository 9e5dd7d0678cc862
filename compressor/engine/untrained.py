"""A plan looked at before it is trained: what it comes to, and what can be known of it for a second of work.

Bytes, parameters and multiply-accumulates of the file are those that the trained one will have, exactly; its time is
measured with a few calls; the loss after BatchNorm has been recalibrated ranks plans nearly as training does where
weights survive. It is measured on few images at any size of image, so that a look costs about the same.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from compressor.engine.baseline import Baseline
from compressor.engine.plan import Plan
from compressor.engine.resolve import carried_out, depends_on_its_course
from compressor.engine.sensitivity import Sensitivities
from compressor.engine.short_training import Practice
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.graph.cost import network_cost
from compressor.measure.latency import Protocol, compare
from compressor.stored import Figure

BRIEF = Protocol(sessions=1, min_rounds=7, max_rounds=7)
"""A few calls: the time of one plan to some percent, which what is known of its neighbours sharpens."""
MOST_VALUES = 1 << 19
"""Values of all images that edits learn from and the loss is measured on: 512 at 32×32×1, some 170 at 3×32×32, four at
3×224×224."""
FEWEST = 4


@dataclass(frozen=True)
class Untrained:
    """A plan with its effective edits, and its figures without training."""

    plan: Plan
    whole: bool
    """False where a phase decides while it runs: the figures are then those of the edits that are known before."""
    loss: Figure
    size_bytes: int
    macs: int
    params: int
    speedup: Figure
    """Over the baseline, measured with a few calls; 0 where it could not be."""
    seconds: Figure
    """What the look took."""
    lost: Figure | None = None
    """What of the baseline's knowledge a short training does not bring back: 0 nothing, 1 all; None without one."""


def look_at(
    plan: Plan,
    baseline: Baseline,
    sensitivities: Sensitivities,
    evidence: Evidence,
    *,
    batch: int,
    seed: int,
    practice: Practice | None = None,
) -> Untrained:
    """Resolve the plan, carry its edits out on a fork of the baseline and measure what needs no training; with
    ``practice``, what a short one brings back, too.

    Raises ``Refusal`` where nothing of it applies, ``ExportError`` where it has no file.
    """
    start = time.perf_counter()
    few = evidence.within(MOST_VALUES, least=FEWEST)
    resolved, network = carried_out(plan, baseline.network, sensitivities, few)
    few.calibrate(network, since=baseline.network)
    loss = few.mean_loss(network)
    onnx, cost = to_onnx(network), network_cost(network)
    lost = None if practice is None else practice.share_lost(network)
    return Untrained(
        plan=resolved,
        whole=not any(depends_on_its_course(phase) for phase in resolved.phases),
        loss=loss if math.isfinite(loss) else math.inf,
        size_bytes=len(onnx),
        macs=cost.mac_count,
        params=cost.parameter_count,
        speedup=compare(baseline.onnx, onnx, batch=batch, protocol=BRIEF, seed=seed).speedup,
        seconds=time.perf_counter() - start,
        lost=lost,
    )
