"""Figures as people read them, the same in the terminal and in the report."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compressor.task import Metric

NONE = "–"
"""Shown where there is no figure."""
_FACTORS = {
    "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40, "ms": 1e3,
}  # fmt: skip
_FIGURE = re.compile(r"([+−±-]?)(\d[\d,]*(?:\.\d+)?)[ \u202f]?(\w*)")
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d\d)")


def count(number: int) -> str:
    """``107,786``"""
    return f"{number:,}"


def short_count(number: float) -> str:
    """``693 k``, ``1.82 G``: three digits and a decimal prefix."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= 0.9995 * limit:
            return f"{_three(number / limit)} {unit}"
    return _three(number) if number != int(number) else str(int(number))


def size(number: float) -> str:
    """Bytes with a binary prefix: ``421 KiB``, ``52.1 KiB``, ``318 B``."""
    for limit, unit in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if abs(number) >= 0.9995 * limit:
            return f"{_three(number / limit)} {unit}"
    return f"{round(number)} B"


def percent(share: float | None, digits: int = 2) -> str:
    """``90.12 %``"""
    return NONE if share is None else f"{100 * share:.{digits}f} %"


def marks(metric: Metric) -> Callable[[float], str]:
    """How round values of a metric are written beside an axis: ``97.5 %``, ``0.041 m``."""
    if metric.unit == "%":
        return lambda share: f"{100 * share:.4g} %"
    return lambda value: f"{value:.4g} {metric.unit}".rstrip()


def points(difference: float) -> str:
    """A difference of two shares in percentage points: ``+0.12``, ``−1.40``, ``±0.00``."""
    text = f"{abs(100 * difference):.2f}"
    return f"±{text}" if float(text) == 0 else f"{'+' if difference > 0 else '−'}{text}"


def signed(number: float, digits: int) -> str:
    """``+0.0412``, ``−0.0003``"""
    return f"{number:+.{digits}f}".replace("-", "−")


def change(metric: Metric, before: float, after: float) -> str:
    """How a metric changed, with its sign: ``−0.12 points``, ``+0.0021 m``."""
    if metric.unit == "%":
        return f"{points(after - before)} points"
    amount = metric.difference(abs(after - before))
    return f"±{amount}" if after == before else f"{'+' if after > before else '−'}{amount}"


def times(ratio: float) -> str:
    """``8.13×``, ``31.4×``"""
    return f"{_three(ratio)}×"


def interval(low: float, high: float) -> str:
    """``1.25–1.35``"""
    return f"{low:.2f}–{high:.2f}"


def micros(us: float) -> str:
    """Microseconds, or milliseconds from a thousand on: ``23.4 µs``, ``1.82 ms``."""
    return f"{_three(us)} µs" if us < 999.5 else f"{_three(us / 1000)} ms"


def duration(seconds: float) -> str:
    """``8 s``, ``2:05``, ``1:02:05``"""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def shape(sizes: tuple[int, ...]) -> str:
    """``3×32×32``"""
    return "×".join(map(str, sizes)) or NONE


def plural(number: int, noun: str) -> str:
    """``1 trial``, ``3 trials``"""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def value(shown: str) -> float | None:
    """The number that a figure of this module stands for, to sort by; None for text that begins with no figure."""
    clock = _CLOCK.fullmatch(shown)
    if clock:
        hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        return float(3600 * hours + 60 * minutes + seconds)
    figure = _FIGURE.match(shown)
    if figure is None:
        return None
    sign, digits, unit = figure.groups()
    number = float(digits.replace(",", "")) * _FACTORS.get(unit, 1.0)
    return -number if sign in ("−", "-") else number


def clean(text: str) -> str:
    """One line that is safe to print: line breaks become spaces, control and direction characters become ``?``.

    Names come from files others wrote; a terminal must not obey them.
    """
    flat = " ".join(text.split())
    return "".join("?" if unicodedata.category(char) in ("Cc", "Cf", "Cs") else char for char in flat)


def _three(number: float) -> str:
    """Three significant digits, no exponent."""
    magnitude = abs(number)
    digits = 0 if magnitude >= 99.95 else 1 if magnitude >= 9.995 else 2
    return f"{number:.{digits}f}"
