"""The numbers of a recipe and what they may be, table by table: beyond these a machine fails, not only a search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Range:
    """From ``low`` to ``high``, both allowed unless said otherwise; what is not a number lies in no range."""

    low: float
    high: float
    beyond_low: bool = False
    """``low`` itself is not allowed."""
    below_high: bool = False
    """``high`` itself is not allowed."""

    def complaint(self, value: float) -> str:
        """What was expected instead of ``value``; empty where it is allowed."""
        if not (value > self.low or (value == self.low and not self.beyond_low)):
            return f"expected {'more than' if self.beyond_low else 'at least'} {self.low:g}; found {_shown(value)}"
        if not (value < self.high or (value == self.high and not self.below_high)):
            expected = f"{'less than' if self.below_high else 'at most'} {_bound(self.high)}"
            return f"expected {expected}; found {_shown(value)}{percentage(value) if self.high <= 1 else ''}"
        return ""


def _bound(value: float) -> str:
    """Every digit of a whole number: 4294967295 is what may be typed, 4.29497e+09 is not."""
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


_MANY, _SAMPLES, _PIXELS = 10**6, 10**9, 2**15
_SEED = Range(0, 2**32 - 1)
"""What every random generator takes."""
_COUNT = Range(1, _MANY)
_SHARE = Range(0, 1, below_high=True)

TRAINING = {
    "epochs": Range(0, _MANY),
    "batch": _COUNT,
    "lr": Range(0, 1e6, beyond_low=True),
    "weight_decay": Range(0, 1e6),
    "momentum": _SHARE,
    "warmup": _SHARE,
    "focal_gamma": Range(0, 1e3),
    "label_smoothing": _SHARE,
    "clip_norm": Range(0, 1e30),
    "patience": Range(0, _MANY),
    "steps_per_epoch": Range(0, _SAMPLES),
}
AUGMENTATION = {
    "shift": Range(0, _PIXELS),
    "rotate": Range(0, 360),
    "noise": Range(0, 1e3),
    "cutout": Range(0, _PIXELS),
}
DISTILLATION = {
    "logits": Range(0, 1e6),
    "temperature": Range(0, 1e6, beyond_low=True),
    "features": Range(0, 1e6),
}
PHASE = {"rounds": _COUNT}
SEARCH = {
    "trials": Range(0, _MANY),
    "budget": Range(0, 1e8),
    "seed": _SEED,
    "jobs": Range(1, 1024),
    "threads": Range(1, 1024),
    "timeout": Range(0, 1e8),
    "patience": _COUNT,
}
MEASURE = {"batch": Range(1, 2**16), "finalists": _COUNT}
LIMITS = {"plugin_seconds": Range(0, 1e8, beyond_low=True)}
DATA = {
    "seed": _SEED,
    "calibration": Range(1, _SAMPLES),
    "limit": Range(0, _SAMPLES),
    "size": Range(0, _PIXELS),
    "resize": Range(0, _PIXELS),
    "crop": Range(0, _PIXELS),
    "white": Range(0, 1e30),
    "memory": Range(0, 2**30, beyond_low=True),
}


def outside(
    table: object, at: tuple[str | int, ...], ranges: Mapping[str, Range]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Where a number of a table is outside its range, and what was expected there."""
    for key, allowed in ranges.items():
        complaint = allowed.complaint(getattr(table, key))
        if complaint:
            yield (*at, key), complaint


def percentage(value: float) -> str:
    """Asks about a number that stands for a share and looks like a percentage."""
    return f"; were {value:g} % meant ({value / 100:g})?" if 1 <= value <= 100 else ""


def impossible(value: Any) -> str:
    """What is wrong with a number wherever it stands; empty for any other value."""
    if isinstance(value, float) and value - value != 0:
        return f"expected a finite number; found {value:g}"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "expected a smaller whole number"
    return ""


def _shown(value: float) -> str:
    return str(value) if isinstance(value, int) and abs(value) < 10**20 else f"{value:g}"
