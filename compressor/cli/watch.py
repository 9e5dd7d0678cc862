"""What is known of a running search, gathered from its events. Knows nothing of how it is drawn."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from compressor.engine.candidate import Metrics
from compressor.search.observer import (
    ArmEnded,
    ArmProgress,
    BaselineMeasured,
    Event,
    Finished,
    FrontChanged,
    Note,
    PilotEnded,
    PilotStarted,
    Stage,
    Started,
    TrialEnded,
    TrialProgress,
    TrialStarted,
)
from compressor.search.result import Candidate, RunResult


@dataclass
class Running:
    """A trial that is under way. ``share``: how far it is, 0…1."""

    number: int
    about: str
    since: float
    stage: str = "start"
    share: float = 0.0


@dataclass
class Piloting:
    """A pilot study that is under way. ``running``: stage and share of its arms by name."""

    started: PilotStarted
    since: float
    finished: int
    running: dict[str, tuple[str, float]] = field(default_factory=dict)

    @property
    def done(self) -> float:
        """Arms finished, those under way counted by their share."""
        return self.finished + sum(share for _, share in self.running.values())

    def left(self, now: float) -> float | None:
        """Seconds until the arms and the trials after them are done at this pace; None: not known yet."""
        here = self.done - self.started.finished
        if self.finished == self.started.finished or here <= 0:
            return None
        per_arm = (now - self.since) / here
        return per_arm * (self.started.arms - self.done + self.started.trials * self.started.trial_cost)


@dataclass
class Watch:
    """The state of a search as its events tell it. Times are those of ``clock``, in seconds."""

    clock: Callable[[], float] = time.monotonic
    source: str = ""
    trials: int = 0
    finished: int = 0
    constraints: tuple[str, ...] = ()
    until: float | None = None
    """With a budget: when it is over."""
    stage: Stage = field(default_factory=lambda: Stage("reading"))
    baseline: Metrics | None = None
    running: dict[int, Running] = field(default_factory=dict)
    front: tuple[Candidate, ...] = ()
    piloting: Piloting | None = None
    """None before and after the pilot study."""
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=3))
    result: RunResult | None = None
    interrupted: bool = False
    began: float = field(init=False)
    _first_trial: float | None = None
    _finished_before: int = 0

    def __post_init__(self) -> None:
        self.began = self.clock()

    def update(self, event: Event) -> None:
        """Take an event in."""
        match event:
            case Started():
                self.source, self.trials, self.constraints = event.source, event.trials, event.constraints
                self.until = self.clock() + event.left if event.left else None
                self.finished = self._finished_before = event.finished
            case Stage():
                self.stage = event
            case Note(text):
                self.notes.append(text)
            case BaselineMeasured(metrics):
                self.baseline = metrics
            case PilotStarted():
                self.piloting = Piloting(event, self.clock(), event.finished)
            case ArmProgress() if self.piloting is not None:
                self.piloting.running[event.name] = event.stage, event.share
            case ArmEnded() if self.piloting is not None:
                self.piloting.running.pop(event.name, None)
                self.piloting.finished = event.finished
            case PilotEnded():
                self.piloting = None
            case TrialStarted():
                self._first_trial = self.clock() if self._first_trial is None else self._first_trial
                self.running[event.number] = Running(event.number, event.about, self.clock())
            case TrialProgress():
                if event.number in self.running:
                    self.running[event.number].stage = event.stage
                    self.running[event.number].share = event.share
            case TrialEnded():
                self.running.pop(event.number, None)
                self.finished = event.finished
            case FrontChanged(front):
                self.front = front
            case Finished(result, interrupted):
                self.result, self.interrupted = result, interrupted

    @property
    def elapsed(self) -> float:
        """Seconds since the watch began."""
        return self.clock() - self.began

    @property
    def done(self) -> float:
        """Trials finished, those under way counted by their share."""
        return self.finished + sum(trial.share for trial in list(self.running.values()))

    def left(self) -> float | None:
        """Seconds the remaining trials will take if they go on like those of this session; None: not known yet.

        In a pilot study: its arms, and the trials after it as far as the arms let one guess.
        """
        if self.piloting is not None:
            return self.piloting.left(self.clock())
        here = self.done - self._finished_before
        if self._first_trial is None or self.finished == self._finished_before or here <= 0:
            return None
        return (self.clock() - self._first_trial) * max(self.trials - self.done, 0.0) / here
