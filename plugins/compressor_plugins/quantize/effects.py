"""What rounding and clipping a value does to the answers of the network, and the range that does least.

With ``g`` the slope of a random mixture of the answers, ``r ∼ N(0, 1)`` for each of them, the answers move by

    E ‖Δy‖² = E (Σᵢ gᵢ δᵢ)²        δ what the value is off by, to first order

Errors of rounding to steps ``s`` go their own ways, so that their squares add up, s²/12 each; 0 has none. Those of
clipping go one way, and their sum counts, sample by sample:

    E ‖Δy‖² ≈ s²/12 · Σ_{xᵢ ≠ 0} gᵢ²  +  Σ_samples (Σ gᵢ (low − xᵢ)₊ − Σ gᵢ (xᵢ − high)₊)²

All ranges of all values are judged by the same few passes, on the float network. Sources: Hassibi & Stork, optimal
brain surgeon (NeurIPS 1992), for the expansion; Li et al., BRECQ (arXiv:2102.05426), for weighing errors by slopes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from compressor.graph.leaf import Passes
from compressor.graph.nested import tensors
from compressor_plugins.quantize.ranges import STEPS

SHARES = tuple(1 - 0.05 * index for index in range(15))
"""Of each side of what was seen, 1 … 0.3: the ranges to choose from."""
PROBES = 2
"""Mixtures of the answers to every sample."""
_ROUNDING = 1 / 12
"""Variance of an error of rounding, in squared steps."""


class Effects:
    """Of one value, for ranges within ``low`` and ``high``, summed over the samples added."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high
        self._rounding = 0.0
        self._below: list[Tensor] = []
        self._above: list[Tensor] = []

    def add(self, x: Tensor, slope: Tensor) -> None:
        """Values (N, …) and the slopes of a mixture of the answers for them."""
        x, slope = x.reshape(len(x), -1), slope.reshape(len(x), -1)
        self._rounding += float((slope.square() * (x != 0)).sum())
        self._below.append(_clipped(-x, -slope, -self._low).cpu())
        self._above.append(_clipped(x, slope, self._high).cpu())

    def best(self) -> tuple[float, float] | None:
        """The range that moves the answers least; None where the answers do not depend on the value."""
        if not self._rounding > 0:
            return None
        shares = torch.tensor(SHARES, dtype=torch.float64)
        low, high = self._low * shares[:, None], self._high * shares
        below, above = torch.cat(self._below, 1), torch.cat(self._above, 1)
        clipping = below.square().sum(1)[:, None] + above.square().sum(1) + 2 * below @ above.T
        moved = clipping + self._rounding * _ROUNDING * ((high - low) / STEPS).square()
        at_low, at_high = divmod(int(moved.argmin()), len(SHARES))
        return float(low[at_low, 0]), float(high[at_high])


def _clipped(x: Tensor, slope: Tensor, most: float) -> Tensor:
    """Σ slope · (x − share · most)₊ by share and sample, for values and slopes (N, K); nothing where most is 0."""
    sample, place = (x > SHARES[-1] * most).nonzero(as_tuple=True) if most > 0 else x[:0].nonzero(as_tuple=True)
    over, weight = x[sample, place].double(), slope[sample, place].double()
    sums = [
        over.new_zeros(len(x)).index_add(0, sample, (over - share * most).clamp_(min=0) * weight) for share in SHARES
    ]
    return torch.stack(sums)


def slopes(passes: Passes, followed: Mapping[int, list[Tensor]]) -> Iterator[tuple[int, Tensor, Tensor]]:
    """For every value followed, by its key: the value and the slopes of a mixture of the answers, for a few samples at
    a time. ``followed`` fills with what is handed on while samples pass; it is emptied behind each pass.
    """
    generator = torch.Generator().manual_seed(0)
    for answers in passes.followed():
        flat = [(key, value) for key, values in followed.items() for value in values]
        for values in followed.values():
            values.clear()
        probed = [answer for answer in tensors(answers) if answer.is_floating_point() and answer.requires_grad]
        for probe in range(PROBES if probed and flat else 0):
            mixture = torch.stack([_mixture(answer, generator) for answer in probed]).sum()
            found = torch.autograd.grad(
                mixture, [value for _, value in flat], retain_graph=probe + 1 < PROBES, allow_unused=True
            )
            for (key, value), slope in zip(flat, found, strict=True):
                if slope is not None:
                    yield key, value.detach(), slope


def _mixture(answers: Tensor, generator: torch.Generator) -> Tensor:
    """Of all answers, each as a share of their spread."""
    weights = torch.randn(answers.shape, generator=generator).to(answers)
    spread = answers.detach().square().mean().sqrt().clamp(min=1e-12)
    mixture: Tensor = (answers * weights).sum() / spread
    return mixture
