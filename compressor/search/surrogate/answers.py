"""What the search wants to know of a plan, as numbers, less is better: regret, log bytes, log time.

Bytes and time are against the baseline's. Regret is how much quality was lost, in the metric's own unit; it is modelled
on a scale that is linear within the noise of its measurement and logarithmic beyond (asinh), so that one plan that lost
everything does not hide what distinguishes those that lost little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from compressor.engine.candidate import Constraints, Metrics
from compressor.engine.untrained import Untrained
from compressor.search.floats import Floats
from compressor.task import drop as lost

_SLOWER = math.log(1.05)
"""Without a limit on time, plans that are slower by more than that are worth nothing."""
_DROP = 10.0
"""Without a limit on quality, plans that lose more than so many usual drops are worth nothing."""


@dataclass(frozen=True)
class Scale:
    """The baseline's figures that everything is relative to."""

    baseline: Metrics
    noise: float
    """Standard error of the quality on the validation split."""

    def answers(self, metrics: Metrics) -> tuple[float, float, float]:
        """Regret, log bytes and log time of a trained candidate."""
        regret = lost(self.baseline.quality, metrics.quality)
        return regret, _log(metrics.size_bytes / self.baseline.size_bytes), -_log(metrics.latency.speedup)

    def features(self, found: Untrained) -> tuple[float, ...]:
        """Log loss, log bytes, log multiply-accumulates, log parameters and log time of a plan without training."""
        loss = min(max(found.loss, 1e-6), 1e6)
        return (
            _log(loss),
            _log(found.size_bytes / self.baseline.size_bytes),
            _log(found.macs / max(self.baseline.macs, 1)),
            _log(found.params / max(self.baseline.params, 1)),
            -_log(found.speedup),
        )

    def warped(self, regret: float) -> float:
        return math.asinh(regret / self.noise) if math.isfinite(regret) else 8.0

    def regret(self, warped: Floats) -> Floats:
        """The inverse of ``warped``."""
        return np.sinh(np.clip(warped, -2.0, 10.0)) * self.noise


def reference_point(constraints: Constraints, usual_drop: float) -> tuple[float, float, float]:
    """What a candidate has to stay below in regret, log bytes and log time to be worth anything."""
    drop = constraints.max_drop if constraints.max_drop is not None else _DROP * usual_drop
    size = 0.0 if constraints.max_size is None else math.log(constraints.max_size)
    time = _SLOWER if constraints.max_latency is None else math.log(constraints.max_latency)
    return drop + 1e-9, size + 1e-9, time + 1e-9


def _log(ratio: float) -> float:
    return math.log(ratio) if 0 < ratio < math.inf else 0.0
