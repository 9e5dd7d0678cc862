"""The driver's trials in memory, and how many of them a sampler is shown.

Optuna's TPE sorts every trial that ever ended for every proposal: 20 ms at 250 told trials, 160 at 2,000. It is shown
no more than it can read in time: what the front consists of, since that is what it has to learn from, and the latest.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager

import optuna
from optuna.trial import FrozenTrial, TrialState

from compressor.search.front import dominates


class Memory(optuna.storages.InMemoryStorage):
    """Optuna's trials in memory. While ``showing``, those that have ended are only the ones worth learning from."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: frozenset[int] | None = None
        """The numbers of the trials that have ended and are shown; None: all."""
        self._front: dict[int, tuple[float, ...]] = {}
        """The values of the trials that none of the feasible ones beats, by their numbers."""

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = super().get_all_trials(study_id, deepcopy, states)
        if self._shown is None:
            return trials
        return [trial for trial in trials if trial.number in self._shown or not trial.state.is_finished()]

    def note_ended(self, trial: FrozenTrial) -> None:
        """That this trial has ended, for the front."""
        if trial.state != TrialState.COMPLETE or any(value > 0 for value in trial.constraints.values()):
            return
        values = tuple(trial.values)
        if any(dominates(other, values) for other in self._front.values()):
            return
        beaten = [number for number, other in self._front.items() if dominates(values, other)]
        for number in beaten:
            del self._front[number]
        self._front[trial.number] = values

    @contextmanager
    def showing(self, study_id: int, most: int) -> Iterator[None]:
        """While entered, no more than ``most`` trials that have ended are shown: the front's latest, at most half of
        them, and the latest of all."""
        ended = [trial.number for trial in self.get_all_trials(study_id, deepcopy=False) if trial.state.is_finished()]
        if len(ended) > most:
            front = set(sorted(self._front)[-(most // 2) :])
            latest = [number for number in ended if number not in front]
            self._shown = frozenset(front) | frozenset(latest[-(most - len(front)) :])
        try:
            yield
        finally:
            self._shown = None
