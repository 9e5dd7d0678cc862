"""What can be had without looking at the image, and when one score is evidently better than another."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

ERRORS = 2.0
"""Standard errors by which a score must exceed chance."""
MARGIN = 0.05
"""Share of what chance leaves to be gained that must be exceeded, too: new weights, whose answers go by brightness or
texture, get that far by luck on as many images as one likes."""
EVIDENT = 3.0
"""Standard deviations of the difference behind the word "evidently"."""


@dataclass(frozen=True)
class Chance:
    """Always answering the most frequent class, over a number of samples."""

    share: float
    """How often that is right, 0…1."""
    label: int
    samples: int

    @property
    def error(self) -> float:
        """Standard error of ``share`` over so many samples."""
        return math.sqrt(self.share * (1 - self.share) / max(self.samples, 1))

    @property
    def limit(self) -> float:
        """Up to this accuracy a network cannot be told from one that does not look."""
        return min(self.share + max(ERRORS * self.error, MARGIN * (1 - self.share)), 1.0)

    def holds(self, accuracy: float) -> bool:
        """Whether ``accuracy`` is no better than chance."""
        return accuracy <= self.limit


def chance_of(labels: Tensor) -> Chance:
    """Chance on samples with these labels ``(N,)``, at least one."""
    counts = torch.bincount(labels)
    return Chance(float(counts.max()) / len(labels), int(counts.argmax()), len(labels))


def evidently_better(one: Tensor, other: Tensor) -> bool:
    """Whether ``one`` is right on more of the same samples than chance explains (McNemar 1947).

    Both: ``(N,)`` of bool, right or wrong; of the longer only the first are compared.
    """
    count = min(len(one), len(other))
    won = int((one[:count] & ~other[:count]).sum())
    lost = int((other[:count] & ~one[:count]).sum())
    return won > lost and won - lost >= EVIDENT * math.sqrt(won + lost)
