"""A plan: everything a trial does to a network, as plain data that can be hashed, stored and replayed.

A plan is a list of phases. A phase is some steps, then some training, ``rounds`` times over; or it is a loop, whose
rounds each carry out phases of its own. A step is either an ``Edit`` (one plugin at one site with every knob chosen) or
a ``Decision`` (a policy with its few values chosen, turned into edits when the phase begins, on the network as it then
is).
"""

from __future__ import annotations

import glob
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from compressor.engine.candidate import Constraints
from compressor.knobs import Value
from compressor.stored import Stored
from compressor.train.spec import TrainingSpec

_MOST_NAMED = 12
"""Sites of a plugin that are listed by name."""


@dataclass(frozen=True)
class Edit:
    """One plugin, at one site, with a value for every knob of the site."""

    plugin: str
    site: str
    choice: Mapping[str, Value] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """A policy with its values chosen; the edits follow from the network it meets."""

    plugin: str
    policy: str
    values: Mapping[str, Value] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    only: tuple[str, ...] = ("*",)
    skip: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gate:
    """Ends the pipeline after a phase, with the reason, when the phase did not earn the next one."""

    max_drop: float
    """By how much the task's metric may be worse than the baseline's on validation data, in the metric's own scale:
    0.01 is one point where that is a share."""


@dataclass(frozen=True)
class Stop:
    """Ends the rounds of a phase when one no longer pays; that round is undone."""

    min_gain: float
    """What a round must bring over the state before it, in the scale of the task's metric on validation data."""


@dataclass(frozen=True)
class Phase:
    """Some steps, then some training; or a loop over phases of its own. Repeated ``rounds`` times."""

    name: str
    steps: tuple[Edit | Decision, ...] = ()
    training: TrainingSpec | None = None
    rounds: int = 1
    rewind: Literal["none", "initial"] = "none"
    """``initial``: every surviving weight goes back to its value before the first phase, then training starts."""
    gate: Gate | None = None
    phases: tuple[Phase, ...] = ()
    """Of a loop: what each of its rounds carries out. A loop has no steps, training or rewind of its own."""
    stop: Stop | None = None
    limits: Constraints | None = None
    """Shares of the baseline's figures that no edit of this phase may take the network over."""
    timed: bool = False
    """Where the phase decides while it runs, it weighs sites by measured time, too. Two runs may then choose
    differently, since measured times differ."""

    @property
    def parts(self) -> tuple[Phase, ...]:
        """The phases with steps: those of a loop, or the phase itself."""
        return tuple(part for inner in self.phases for part in inner.parts) or (self,)


@dataclass(frozen=True)
class Plan:
    """What one trial executes. Two plans with the same digest are the same candidate."""

    phases: tuple[Phase, ...] = ()

    def without(self, sites: Mapping[str, Collection[str]]) -> Plan:
        """The same, whose decisions leave these sites alone: paths by plugin."""
        return Plan(tuple(_without(phase, sites) for phase in self.phases))

    def untrained(self) -> Plan:
        """The same edits with no training behind them."""
        return Plan(tuple(_untrained(phase) for phase in self.phases))

    def to_json(self) -> str:
        """Canonical text: equal plans give equal text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(text: str | bytes) -> Plan:
        """Raises ``ValueError`` for what is no plan."""
        return PLAN.from_json(text)

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that name the plan."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    @property
    def edits(self) -> tuple[Edit, ...]:
        """All edits in order; decisions that are still open are not among them."""
        return tuple(step for phase in self.parts for step in phase.steps if isinstance(step, Edit))

    @property
    def parts(self) -> tuple[Phase, ...]:
        """The phases with steps, in order, those inside loops once."""
        return tuple(part for phase in self.phases for part in phase.parts)

    def unrolled(self) -> Iterator[Phase]:
        """Every round of every phase, as a phase of one round; those inside loops are named ``loop.phase``."""
        for phase in self.phases:
            yield from _unrolled(phase, phase.name)

    def describe(self) -> str:
        """One line for people: ``plugin fc1, fc2(bits=4) · another 26 sites(bits=8), 3 sites(bits=4)``."""
        by_plugin: dict[str, list[tuple[str, str]]] = {}
        for phase in self.parts:
            for step in phase.steps:
                by_plugin.setdefault(step.plugin, []).append(_brief(step))
        return " · ".join(f"{plugin} {_listed(steps)}" for plugin, steps in by_plugin.items()) or "unchanged"


def _without(phase: Phase, sites: Mapping[str, Collection[str]]) -> Phase:
    def spared(step: Edit | Decision) -> Edit | Decision:
        if isinstance(step, Edit):
            return step
        more = sorted(glob.escape(path) for path in sites.get(step.plugin, ()))
        return replace(step, skip=(*step.skip, *(path for path in more if path not in step.skip)))

    steps = tuple(spared(step) for step in phase.steps)
    return replace(phase, steps=steps, phases=tuple(_without(inner, sites) for inner in phase.phases))


def _untrained(phase: Phase) -> Phase:
    return replace(phase, training=None, phases=tuple(_untrained(inner) for inner in phase.phases))


def _unrolled(phase: Phase, name: str) -> Iterator[Phase]:
    for _ in range(phase.rounds):
        for inner in phase.phases:
            yield from _unrolled(inner, f"{name}.{inner.name}")
        if not phase.phases:
            yield replace(phase, name=name, rounds=1)


def _brief(step: Edit | Decision) -> tuple[str, str]:
    """Where a step is, and ``(key=value,…)`` of what it does there."""
    values = step.choice if isinstance(step, Edit) else step.values
    shown = ",".join(
        f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items()
    )
    return step.site if isinstance(step, Edit) else step.policy, f"({shown})" if shown else ""


def _listed(steps: list[tuple[str, str]]) -> str:
    """By name; where they are many, how many do the same."""
    if len(steps) <= _MOST_NAMED:
        return ", ".join(where + what for where, what in steps)
    return ", ".join(f"{count} sites{what}" for what, count in Counter(what for _, what in steps).items())


PLAN: Stored[Plan] = Stored(Plan, complete=False)
