"""Axes: where a value lies on a line, and which round values are marked there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

_MARGIN = 0.08
"""Share of the range that is left free at either end."""
_REACH = 4.0
"""How far from what is needed an axis goes for the sake of others, in spans of what is needed."""


@dataclass(frozen=True)
class Frame:
    """A drawing and the plot within it, all in the units of the drawing: x from ``left`` to ``right``, y downwards."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int

    def across(self, axis: Axis, value: float) -> float:
        return round(self.left + axis.place(value) * (self.right - self.left), 1)

    def up(self, axis: Axis, value: float) -> float:
        return round(self.bottom - axis.place(value) * (self.bottom - self.top), 1)


@dataclass(frozen=True)
class Mark:
    """A tick of an axis, or a limit, at its place in the drawing."""

    at: float
    label: str


@dataclass(frozen=True)
class Tick:
    """A round value of an axis."""

    value: float
    label: str


@dataclass(frozen=True)
class Axis:
    """From ``low`` to ``high``, logarithmic to the base 2 where ``log``; both ends are values that it can show."""

    low: float
    high: float
    log: bool
    ticks: tuple[Tick, ...]

    def holds(self, value: float) -> bool:
        """Whether ``value`` lies on the axis; what does not is placed at its end."""
        return 0.0 <= _share(value, self.low, self.high, self.log) <= 1.0

    def place(self, value: float) -> float:
        """Share of the axis at which ``value`` lies, held within 0…1."""
        return min(max(_share(value, self.low, self.high, self.log), 0.0), 1.0)


def axis(values: Iterable[float], label: Callable[[float], str], *, log: bool | None = None, marks: int = 5) -> Axis:
    """An axis that holds all finite ``values``. ``log``: None means where they differ more than fourfold."""
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    log = low > 0 and high > 4 * low if log is None else log
    if log:
        spread = max(math.log2(high / low), 0.1)
        low, high = low * 2 ** (-_MARGIN * spread), high * 2 ** (_MARGIN * spread)
        steps = _powers(low, high, marks)
    else:
        spread = max(high - low, 1e-3 * max(abs(high), 1.0))
        low, high = low - _MARGIN * spread, high + _MARGIN * spread
        steps = _round_steps(low, high, marks)
    return Axis(low, high, log, tuple(Tick(step, label(step)) for step in steps))


def around(needed: Iterable[float], others: Iterable[float]) -> list[float]:
    """What an axis is to hold: everything ``needed``, and of the ``others`` what does not squeeze that to nothing."""
    kept = [value for value in needed if math.isfinite(value)]
    if not kept:
        return list(others)
    low, high = min(kept), max(kept)
    reach = _REACH * max(high - low, 0.01 * max(abs(low), abs(high)))
    return [*kept, *(value for value in others if low - reach <= value <= high + reach)]


def _share(value: float, low: float, high: float, log: bool) -> float:
    if not math.isfinite(value) or (log and value <= 0):
        return 1.0 if value > 0 and not math.isnan(value) else 0.0
    return math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)


def _powers(low: float, high: float, marks: int) -> Iterator[float]:
    first, last = math.ceil(math.log2(low)), math.floor(math.log2(high))
    every = max(1, math.ceil((last - first + 1) / marks))
    yield from (2.0**power for power in range(first, last + 1, every))


def _round_steps(low: float, high: float, marks: int) -> Iterator[float]:
    """Multiples of 1, 2 or 5 times a power of ten, at most ``marks`` of them (or one more)."""
    rough = (high - low) / marks
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    yield from (number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1))
