"""How much of the surviving weights a round prunes.

    paper      f_i = p^(1/i)                   a growing share, round by round
    constant   f_i = p                         the same share each round
    total      f_i = 1 − (1 − P)^(1/n)         the same share each round, so that P is gone after n rounds

Sources: "How to reduce training parameters in CNNs while keeping accuracy > 99 %" (``paper``); Frankle & Carbin, the
lottery ticket hypothesis (arXiv:1803.03635).
"""

from __future__ import annotations

import math
from typing import Literal

from compressor.knobs import FloatRange

Schedule = Literal["total", "constant", "paper"]

RANGES: dict[Schedule, FloatRange] = {
    "total": FloatRange(0.5, 0.95),
    "constant": FloatRange(0.2, 0.9),
    "paper": FloatRange(0.1, 0.5),
}
"""Values of the knob ``fraction`` (P or p) that are worth a trial."""
_ROUNDING = 1e-9
"""So that 0.29 of 100 is 29, which in floating point it is not quite."""


def share(schedule: Schedule, fraction: float, round_number: int, rounds: int) -> float:
    """Share of the survivors that round ``round_number`` (from 1) of ``rounds`` prunes; ``fraction`` in 0…1."""
    match schedule:
        case "paper":
            return float(fraction ** (1 / round_number))
        case "constant":
            return fraction
        case "total":
            return float(1 - (1 - fraction) ** (1 / rounds))


def pruned_count(survivors: int, schedule: Schedule, fraction: float, round_number: int, rounds: int) -> int:
    """⌊f · survivors⌋ weights."""
    return math.floor(share(schedule, fraction, round_number, rounds) * survivors + _ROUNDING)
