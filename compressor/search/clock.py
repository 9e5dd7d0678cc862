"""The budget of a run: how long it may take in all, sessions together, and what of it is kept for the end.

    0 ── sensitivities ── trials ─────────────────── end of trials ── final measurement ── budget
                                                     └ what runs by then is ended a twentieth of the budget later

Without a budget nothing here ever says stop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from compressor.recipe.model import Recipe
from compressor.stored import Figure, Stored

FINALIST = 15.0
"""Seconds of the final measurement of one file, before any has been made."""
MOST_KEPT = 0.25
"""Share of the budget that is kept for the final measurement at most; it then measures fewer finalists."""
_LATE = 0.05
"""Share of the budget by which a running trial may be late before it is ended."""
_BETWEEN = 10.0
"""Seconds after which what was spent is written down again: as much is lost of a session that is killed."""
_MEASURING = 0.2
"""Share of the budget after which no more sites are measured."""


@dataclass(frozen=True)
class Spent:
    """``clock.json``: seconds that the sessions so far took, and that the run may take in all (infinite: no budget)."""

    seconds: Figure
    budget: Figure


SPENT: Stored[Spent] = Stored(Spent)


class Clock:
    """Counts one session on top of those before. ``more``: seconds from now on, whatever the budget was before.

    ``since``: when the session began, on the clock of ``now``, where that is not now.
    """

    def __init__(
        self,
        recipe: Recipe,
        file: Path,
        before: Spent | None = None,
        more: float | None = None,
        now: Callable[[], float] = time.monotonic,
        since: float | None = None,
    ) -> None:
        self._file, self._now = file, now
        self._start = now() if since is None else since
        self._saved = now()
        self._before = 0.0 if before is None else before.seconds
        told = before.budget if before is not None else recipe.search.budget or math.inf
        self.budget = told if more is None else self._before + more
        self._kept = min((recipe.measure.finalists + 1) * FINALIST, MOST_KEPT * self.budget)
        self._trials: list[float] = []
        self._expected = 0.0

    @property
    def limited(self) -> bool:
        return math.isfinite(self.budget)

    @property
    def spent(self) -> float:
        """Seconds, all sessions together."""
        return self._before + self._now() - self._start

    @property
    def shown(self) -> float:
        """``spent``, as finely as it is written down."""
        return round(self.spent, 1)

    @property
    def left(self) -> float:
        """Seconds of the budget; below zero where it is overdrawn."""
        return self.budget - self.spent

    @property
    def for_trials(self) -> float:
        """Seconds that are left for trials."""
        return self.left - self._kept

    @property
    def trial_seconds(self) -> float:
        """What a trial takes: the mean of those of this session, or what was expected."""
        return sum(self._trials) / len(self._trials) if self._trials else self._expected

    def expect(self, trial_seconds: float) -> None:
        """What a trial is thought to take as long as none has ended."""
        self._expected = trial_seconds

    def note_trial(self, seconds: float) -> None:
        """A trained trial has taken so long."""
        self._trials.append(seconds)
        self.save()

    def keep_up(self) -> None:
        """Something has happened: save, unless that was done just now. A full disk ends nothing here."""
        if self._now() - self._saved >= _BETWEEN:
            with suppress(OSError):
                self.save()

    def save(self) -> None:
        self._saved = self._now()
        SPENT.write(self._file, Spent(self.shown, self.budget))

    # --- may it begin? -------------------------------------------------------------------------------------------

    def allows_trial(self) -> bool:
        """Whether one more trial would end before the time for trials does. A guess may be wrong by half."""
        return self.for_trials >= self.trial_seconds / (1.0 if self._trials else 1.5)

    def allows_measuring(self) -> bool:
        """Whether sites may still be measured."""
        return not self.limited or self.left > (1 - _MEASURING) * self.budget

    def allows(self, seconds: float) -> bool:
        """Whether something that takes so long ends within the budget."""
        return self.left >= seconds

    def is_overdue(self) -> bool:
        """Whether what still runs has to be ended."""
        return self.for_trials < -min(_LATE * self.budget, self._kept) if self.limited else False
