"""What a network is judged by: a metric with its unit and direction, and what it came to on the splits of a set.

Inside, only *regret* is compared: the metric turned so that less is better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from compressor.stored import Figure

Direction = Literal["higher", "lower"]
"""Which values of a metric are better."""
_DIGITS = 12
_POINT = 0.01
_NONE = "–"


@dataclass(frozen=True)
class Metric:
    """A metric. ``unit`` is ``%`` for shares of 1, which people read as percent; else what follows the number."""

    name: str
    direction: Direction = "higher"
    unit: str = "%"

    @property
    def best(self) -> float:
        """The value that cannot be bettered; infinite where there is none."""
        if self.direction == "lower":
            return 0.0
        return 1.0 if self.unit == "%" else math.inf

    def regret(self, value: float) -> float:
        """The value turned so that less is better; what is no number is infinitely bad."""
        if math.isnan(value):
            return math.inf
        if self.direction == "lower":
            return value
        return self.best - value if math.isfinite(self.best) else -value

    def drop(self, before: float, after: float) -> float:
        """By how much ``after`` is worse than ``before``, in the metric's own scale; negative where it is better."""
        return _difference(self.regret(after), self.regret(before))

    def point(self, value: float) -> float:
        """How much of it is little: one point of a share, one part in a hundred of any other value."""
        return _POINT if self.unit == "%" else _POINT * abs(value)

    def text(self, value: float | None) -> str:
        """The value for people: ``92.10 %``, ``0.0413 m``; ``unknown`` where there is none."""
        if value is None:
            return "unknown"
        if self.unit == "%":
            return f"{100 * value:.2f} %"
        return f"{value:.4g} {self.unit}".rstrip()

    def difference(self, amount: float) -> str:
        """A difference of two values, for people: ``0.42 points``, ``0.0013 m``."""
        return f"{100 * amount:.2f} points" if self.unit == "%" else f"{amount:.3g} {self.unit}".rstrip()


@dataclass(frozen=True)
class Quality:
    """A metric on the splits of a set. ``test`` and ``onnx`` are None until the test split has been opened."""

    validation: Figure
    test: Figure | None = None
    onnx: Figure | None = None
    """Of the ONNX file itself on the test split, run in ONNX Runtime."""
    error: Figure | None = None
    """Standard error of ``validation``; None where it is not known."""
    test_error: Figure | None = None
    """Standard error of ``test``."""
    metric: str = ""
    direction: Direction = "higher"
    unit: str = "%"
    parts: Mapping[str, Figure] = field(default_factory=dict)
    """What ``validation`` is made of, where it is made of several: of agreement, every output's."""

    @property
    def measured(self) -> Metric:
        """What was measured."""
        return Metric(self.metric, self.direction, self.unit)

    @property
    def regret(self) -> float:
        """Of ``validation``: less is better."""
        return self.measured.regret(self.validation)

    def show(self, split: Literal["validation", "test", "onnx"]) -> str:
        """The value on a split, for people; a dash where it is not known."""
        value: float | None = getattr(self, split)
        return _NONE if value is None else self.measured.text(value)

    @staticmethod
    def of(
        metric: Metric, validation: float, error: float | None = None, parts: Mapping[str, float] | None = None
    ) -> Quality:
        """What is known before the test split is opened."""
        direction, unit = metric.direction, metric.unit
        return Quality(
            validation, error=error, metric=metric.name, direction=direction, unit=unit, parts=dict(parts or {})
        )


def drop(before: Quality, after: Quality) -> float:
    """By how much ``after`` is worse than ``before`` on validation data, in the metric's own scale."""
    return _difference(after.regret, before.regret)


def _difference(one: float, other: float) -> float:
    """Without the rounding of floats: 148 of 150 less 145 of 150 are 0.02, which a limit of 0.02 allows."""
    return round(one - other, _DIGITS)
