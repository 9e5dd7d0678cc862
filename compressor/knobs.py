"""Knobs: what may be chosen at a site, as plain data that knows nothing of who chooses.

A knob is a set of values; a choice maps knob names to one value each. The search turns knobs into its own
distributions, a person may write the values in a recipe, a test may draw them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

Value = bool | int | float | str
Choices = Mapping[str, Value]


@dataclass(frozen=True)
class Choice:
    """One of several values; the first is the default."""

    options: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.options:
            raise ValueError("a Choice needs at least one option")

    @property
    def default(self) -> Value:
        return self.options[0]

    def contains(self, value: Value) -> bool:
        return any(type(value) is type(option) and value == option for option in self.options)

    def nearest(self, value: Value) -> Value:
        """``value`` where it is an option, else the default."""
        return value if self.contains(value) else self.default

    def sample(self, rng: random.Random) -> Value:
        return rng.choice(self.options)


@dataclass(frozen=True)
class IntRange:
    """Whole numbers ``low, low+step, …, ≤ high``; the default is ``low``."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    def __post_init__(self) -> None:
        if self.low > self.high or self.step < 1 or (self.log and (self.low < 1 or self.step != 1)):
            raise ValueError(f"not a range: {self}")

    @property
    def default(self) -> int:
        return self.low

    def contains(self, value: Value) -> bool:
        return type(value) is int and self.low <= value <= self.high and (value - self.low) % self.step == 0

    def nearest(self, value: Value) -> int:
        """The member closest to ``value``."""
        number = float(value) if isinstance(value, int | float) else float(self.low)
        steps = round((min(max(number, self.low), self.high) - self.low) / self.step)
        return self.low + min(steps, (self.high - self.low) // self.step) * self.step

    def sample(self, rng: random.Random) -> int:
        return rng.randrange(self.low, self.high + 1, self.step)


@dataclass(frozen=True)
class FloatRange:
    """Real numbers in ``[low, high]``; the default is ``low``."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low <= self.high or (self.log and self.low <= 0):
            raise ValueError(f"not a range: {self}")

    @property
    def default(self) -> float:
        return self.low

    def contains(self, value: Value) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def nearest(self, value: Value) -> float:
        """``value`` clipped to the range."""
        return min(max(float(value), self.low), self.high) if isinstance(value, int | float) else self.low

    def sample(self, rng: random.Random) -> float:
        return rng.uniform(self.low, self.high)


Knob = Choice | IntRange | FloatRange


def defaults(knobs: Mapping[str, Knob]) -> dict[str, Value]:
    """The default choice."""
    return {name: knob.default for name, knob in knobs.items()}


def describe(knob: Knob) -> str:
    """How a person reads a knob: ``{a, b}``, ``1…8 step 2``, ``0.1…0.9 log``."""
    match knob:
        case Choice(options):
            return "{" + ", ".join(str(option) for option in options) + "}"
        case IntRange(low, high, step, log):
            return f"{low}…{high}" + (f" step {step}" if step > 1 else "") + (" log" if log else "")
        case FloatRange(low, high, log):
            return f"{low:g}…{high:g}" + (" log" if log else "")
