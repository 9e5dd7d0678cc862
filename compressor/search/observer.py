"""What a running search tells whoever watches it: plain events, in order. Only the driver sends them.

An observer draws, prints or records; it decides nothing. Trials run in other processes and write to their own logs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from compressor.engine.candidate import Metrics, Outcome
from compressor.search.result import Candidate, PilotResult, RunResult


@dataclass(frozen=True)
class Started:
    """The run begins, or goes on where it was left."""

    folder: Path
    source: str
    """Where the model came from."""
    trials: int
    """Trials the run is to have finished in all; with a budget, as many as will about fit."""
    finished: int
    """Trials that are finished already."""
    constraints: tuple[str, ...] = ()
    """The limits, one line each."""
    left: float = 0.0
    """With a budget: seconds of it that are left."""


@dataclass(frozen=True)
class Stage:
    """Something else than trials goes on: ``baseline``, ``sensitivity``, ``pilot``, ``search``, ``final``,
    ``control``."""

    name: str
    detail: str = ""
    share: float = 0.0
    """How far it is, 0…1."""


@dataclass(frozen=True)
class Note:
    """A line worth reading: a plugin that finds no site, a trial run again, the space exhausted."""

    text: str


@dataclass(frozen=True)
class BaselineMeasured:
    metrics: Metrics


@dataclass(frozen=True)
class PilotStarted:
    """The pilot study begins, or goes on: so many trainings ("arms"), so many of them finished already."""

    name: str
    arms: int
    finished: int
    trials: int
    """Trials to come, should the method apply."""
    data: str
    """The data, and what they stand in for."""
    trial_cost: float
    """Samples a trial trains on, as a multiple of an arm's: to guess how long the trials will take."""


@dataclass(frozen=True)
class ArmProgress:
    """An arm begins (``share`` 0) or is under way."""

    name: str
    stage: str
    share: float


@dataclass(frozen=True)
class ArmEnded:
    """``figures`` in a few words; ``finished`` arms so far."""

    name: str
    figures: str
    finished: int
    arms: int


@dataclass(frozen=True)
class PilotEnded:
    """The pilot study is over, now or in an earlier session."""

    result: PilotResult


@dataclass(frozen=True)
class TrialStarted:
    number: int
    digest: str
    about: str
    """The plan in one line."""


@dataclass(frozen=True)
class TrialProgress:
    number: int
    stage: str
    share: float
    """How far the trial is, 0…1."""


@dataclass(frozen=True)
class TrialEnded:
    """A trial that was run, or taken over from an earlier one with the same effective edits."""

    number: int
    digest: str
    about: str
    outcome: Outcome
    duplicate_of: int | None
    finished: int
    """Trials finished so far; duplicates and what was screened out do not count."""


@dataclass(frozen=True)
class FrontChanged:
    """The Pareto-optimal candidates within the limits so far, the best first."""

    front: tuple[Candidate, ...]


@dataclass(frozen=True)
class Finished:
    """The run is over, or interrupted; ``result`` is what ``result.json`` holds (None: nothing was measured yet)."""

    result: RunResult | None
    interrupted: bool


Event = (
    Started
    | Stage
    | Note
    | BaselineMeasured
    | PilotStarted
    | ArmProgress
    | ArmEnded
    | PilotEnded
    | TrialStarted
    | TrialProgress
    | TrialEnded
    | FrontChanged
    | Finished
)


class Observer(Protocol):
    """Told everything that happens, on the driver's main thread. It must be quick and must not raise."""

    def notify(self, event: Event) -> None: ...


class Silent:
    """The observer that does nothing."""

    def notify(self, event: Event) -> None:
        """Ignore the event."""
