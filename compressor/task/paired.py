"""When is one score evidently better than another: on the same samples, and against a guess."""

from __future__ import annotations

import math

from torch import Tensor

from compressor.task.metric import Metric
from compressor.task.task import Guess

EVIDENT = 3.0
"""Standard deviations of the difference behind the word "evidently"."""
ERRORS = 2.0
"""Standard errors by which a score must exceed a guess."""
MARGIN = 0.05
"""Share of what a guess leaves to be gained that must be exceeded, too: new weights, whose answers go by brightness or
texture, get that far by luck on as many images as one likes."""


def evidently_better(one: Tensor, other: Tensor) -> bool:
    """Whether ``one`` scores higher on the same samples than chance explains.

    Both: scores ``(N,)``; of the longer only the first are compared. Σd ≥ 3·√Σd² over the differences d, which for
    right and wrong answers is McNemar's test (1947).
    """
    count = min(len(one), len(other))
    differences = one[:count].double() - other[:count].double()
    total, spread = float(differences.sum()), math.sqrt(float(differences.square().sum()))
    return total > 0 and total >= EVIDENT * spread


def no_better(metric: Metric, value: float, guess: Guess) -> bool:
    """Whether ``value`` cannot be told from a guess that does not look at the input."""
    to_gain = metric.regret(guess.value) if math.isfinite(metric.best) else abs(guess.value)
    least = max(ERRORS * guess.error, MARGIN * to_gain)
    return metric.regret(value) >= metric.regret(guess.value) - least
