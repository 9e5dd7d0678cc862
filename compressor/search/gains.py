"""How much regret still falls after a share of the training: learned from trials that ran to their end.

It decides how far other trials are trained (``engine.rungs``): one is ended where even the largest gain that was seen
would not make it worth anything. And it corrects what ended trials tell: they would have become better.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from compressor.engine.candidate import Metrics, Outcome
from compressor.engine.rungs import Rung

FEWEST = 5
"""Trials that must be complete before others are measured by them: the next one gains no more than the largest gain of
five in five cases of six."""


_TIMING = 0.03
"""Log time by which two measurements of few calls may differ for nothing."""


class Gains:
    """Of all trials of a search that are complete."""

    def __init__(self, ended: Iterable[Outcome]) -> None:
        self._complete = [(found, found.metrics) for found in ended if found.status == "complete" and found.metrics]

    def after(self, share: float) -> list[float]:
        """By how much the regret of each fell between the first epoch that ended at ``share`` or later, and the end."""
        gains = []
        for outcome, metrics in self._complete:
            known = next((reached for reached in outcome.curve if share <= reached.share < 1), None)
            if known is not None:
                gains.append(metrics.quality.measured.regret(known.quality) - metrics.quality.regret)
        return [gain for gain in gains if math.isfinite(gain)]

    def rungs(self, shares: Sequence[float], worth: float, noise: float) -> tuple[Rung, ...]:
        """For a plan that is worth something below the regret ``worth``; none where too little is known."""
        if not math.isfinite(worth):
            return ()
        known = {share: self.after(share) for share in shares}
        return tuple(
            Rung(share, worth + max(*gains, 0.0) + noise) for share, gains in known.items() if len(gains) >= FEWEST
        )

    def still_to_come(self, outcome: Outcome) -> float:
        """What a trial that was ended early would probably have gained; 0 for one that was not."""
        if outcome.status != "stopped" or not outcome.curve or outcome.curve[-1].share >= 1:
            return 0.0
        gains = self.after(outcome.curve[-1].share)
        return max(statistics.median(gains), 0.0) if gains else 0.0


def worth_of(drop: float, size: float, time: float, front: Iterable[tuple[float, float, float]]) -> float:
    """The regret below which a plan of this log size and log time is on the front, and within the limit ``drop``.

    ``front``: regret, log bytes, log time of what was reached.
    """
    ahead = [regret for regret, bytes_, seconds in front if bytes_ <= size and seconds <= time - _TIMING]
    return min([drop, *ahead])


def noise_of(baseline: Metrics) -> float:
    """Standard error of the baseline's quality on the validation split, or a tenth of what is little of it."""
    quality = baseline.quality
    least = 0.1 * quality.measured.point(quality.validation)
    return max(quality.error or 0.0, least, 1e-12)
