"""Short first: after a share of its epochs a trial goes on only where it may still be worth anything.

Nothing is started again: a trial that goes on does so from where it is, one that does not ends there. How much training
may still bring is taken from trials that ran to their end (``search.gains``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compressor.stored import Figure


@dataclass(frozen=True)
class Rung:
    """After this share of a plan's epochs, a trial with more ``regret`` ends."""

    share: float
    regret: float
    """On the validation split, relative to the baseline's, in the metric's own scale."""


@dataclass(frozen=True)
class Reached:
    """Where a trial stood after an epoch."""

    share: Figure
    """Of the plan's epochs."""
    quality: Figure
    """The task's metric on the validation split."""


def failed_at(rungs: Sequence[Rung], before: float, share: float, regret: float) -> Rung | None:
    """The rung that was come to after ``before`` and up to ``share``, and that such a regret does not pass.

    A trial that is over passes every rung.
    """
    passed = [rung for rung in rungs if before < rung.share <= share and share < 1]
    return next((rung for rung in passed if not regret <= rung.regret), None)
