"""Learning-rate schedules as plain functions of the share of steps done, and the plateau rule."""

from __future__ import annotations

import math
from dataclasses import dataclass

from compressor.train.spec import TrainingSpec

ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = 1e-4
STEP_AT = (0.5, 0.75)
STEP_FACTOR = 0.1
PLATEAU_FACTOR = 0.5
PLATEAU_PATIENCE = 4


def rate_factor(spec: TrainingSpec, step: int, steps: int) -> float:
    """What the learning rate is multiplied by at ``step`` (from 0) of ``steps``.

    cosine: (1 + cos πx)/2 after a linear warm-up. one-cycle (Smith & Topin, arXiv:1708.07120): cosine from 1/25 up to 1
    over the first 30 % of the steps, cosine down to 10⁻⁴ over the rest. step: ×0.1 at one half and at three quarters.
    """
    done = step / max(steps, 1)
    if spec.schedule == "cosine":
        if done < spec.warmup:
            return min((step + 1) / (spec.warmup * steps), 1.0)
        return _between(1.0, 0.0, (done - spec.warmup) / max(1 - spec.warmup, 1e-9))
    if spec.schedule == "one-cycle":
        if done < ONE_CYCLE_RISE:
            return _between(ONE_CYCLE_START, 1.0, done / ONE_CYCLE_RISE)
        return _between(1.0, ONE_CYCLE_END, (done - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE))
    if spec.schedule == "step":
        return STEP_FACTOR ** sum(done >= at for at in STEP_AT)
    return 1.0


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


@dataclass
class Plateau:
    """Halves the rate whenever the validation loss has not fallen for ``PLATEAU_PATIENCE`` epochs."""

    factor: float = 1.0
    lowest: float = math.inf
    waited: int = 0

    def update(self, loss: float) -> None:
        if loss < self.lowest:
            self.lowest, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited > PLATEAU_PATIENCE:
            self.factor, self.waited = self.factor * PLATEAU_FACTOR, 0
