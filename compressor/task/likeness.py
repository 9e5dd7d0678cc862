"""How alike the answers of two networks are in one output.

Real numbers: 1 − √(Σ|a − b|² / Σ|b|²) over all samples, at least 0, as signal-to-noise ratios are told of a whole set:
a sample of which the reference says 0 everywhere counts by how far the other is off on the scale of this output. Whole
numbers and flags: the share of entries that are equal. Any other kind is a task's ``agreement``.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from compressor.task.task import MeanOfScores, Meter, Task, relative_agreement


class Likeness(Protocol):
    """Of one output."""

    def meter(self) -> Meter:
        """A new, empty meter of how alike two networks' outputs are: 1 where they are the same."""
        ...

    def agreement(self, output: Tensor, reference: Tensor) -> Tensor:
        """The same for each sample, ``(N,)``."""
        ...

    def plain(self, output: Tensor) -> Tensor:
        """The output in the form that ``lost`` compares."""
        ...

    def lost(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor | None:
        """What a student's output, ``plain``, loses against a teacher's; None where there is no gradient."""
        ...


class RealNumbers:
    """Real numbers that are to be near, on the scale of the output."""

    def meter(self) -> Meter:
        return _RelativeDistance()

    def agreement(self, output: Tensor, reference: Tensor) -> Tensor:
        return relative_agreement(output, reference)

    def plain(self, output: Tensor) -> Tensor:
        return output

    def lost(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor | None:
        return relative_squares(student, teacher)


class Equal:
    """Whole numbers or flags that are to be the same; nothing can be learnt from them."""

    def meter(self) -> Meter:
        return MeanOfScores(self.agreement)

    def agreement(self, output: Tensor, reference: Tensor) -> Tensor:
        return (output == reference).reshape(len(output), -1).float().mean(1)

    def plain(self, output: Tensor) -> Tensor:
        return output

    def lost(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor | None:
        return None


class Answers:
    """What a task says of answers: the same class, vectors that point alike."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def meter(self) -> Meter:
        return MeanOfScores(self.agreement)

    def agreement(self, output: Tensor, reference: Tensor) -> Tensor:
        return self._task.agreement(output, reference)

    def plain(self, output: Tensor) -> Tensor:
        plain: Tensor = self._task.plain(output)
        return plain

    def lost(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor | None:
        return self._task.distil(student, teacher, temperature)


def relative_squares(one: Tensor, reference: Tensor) -> Tensor:
    """½ · mean((a − b)²) / mean(b²); of a reference that is 0 everywhere, ½ · mean(a²)."""
    scale = reference.square().mean()
    return 0.5 * F.mse_loss(one, reference) / torch.where(scale > 1e-12, scale, 1.0)


class _RelativeDistance:
    """r = √(D/B) with D, B the means of |a − b|² and |b|² over the samples.

    Standard error by the delta method: √(mean((dᵢ − (D/B)·bᵢ)²) / n) / (B · 2r), dᵢ and bᵢ those of one sample.
    """

    def __init__(self) -> None:
        self._count = 0
        self._sums = torch.zeros(5, dtype=torch.float64)
        """Of d, b, d², b², d·b."""

    def update(self, outputs: Tensor, target: Tensor) -> None:
        ours, theirs = (part.detach().double().reshape(len(part), -1) for part in (outputs, target))
        d, b = (ours - theirs).square().sum(1), theirs.square().sum(1)
        self._sums = self._sums.to(d.device) + torch.stack([d, b, d * d, b * b, d * b]).sum(1)
        self._count += len(d)

    def value(self) -> float:
        distance = self._distance()
        return distance if math.isnan(distance) else max(1.0 - distance, 0.0)

    def error(self) -> float | None:
        d, b, dd, bb, db = map(float, self._sums.tolist())
        distance = self._distance()
        if self._count < 2 or not math.isfinite(distance):
            return None
        if not distance:
            return 0.0
        share = d / b
        spread = max(dd - 2 * share * db + share * share * bb, 0.0)
        return math.sqrt(spread) / (b * 2 * distance)

    def _distance(self) -> float:
        d, b = map(float, self._sums[:2].tolist())
        if not self._count or math.isnan(d) or math.isnan(b):
            return math.nan
        return math.sqrt(d / b) if b > 0 else math.inf if d > 0 else 0.0
