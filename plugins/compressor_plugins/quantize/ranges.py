"""The range of a value that 256 steps should cover, from samples of it.

    min-max      everything that was seen
    percentile   all but the outermost 0.01 % on each side
    mse          the range, scaled in from min-max, with the least mean squared error of rounding and clipping
    outputs      the range that moves the answers of the network least (``effects``)
    entropy      the range whose clipped and rounded histogram is closest to the whole one (Kullback-Leibler)

A range always holds 0, exactly: padding is 0. Sources: Jacob et al. (arXiv:1712.05877); Banner et al.
(arXiv:1810.05723); Migacz, 8-bit inference with TensorRT (GTC 2017) for the entropy criterion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Method = Literal["outputs", "min-max", "percentile", "mse", "entropy"]
STEPS = 255
KEPT = 0.9999
"""Share of the samples on each side that ``percentile`` covers."""
SHRINKS = torch.linspace(0.3, 1.0, 36).tolist()
SAMPLES = 1 << 17
"""Samples kept of one value; more than that are thinned out, evenly."""
PER_BATCH = 1 << 14
BINS = 2048


class Seen:
    """What was seen of a value: its extremes, exactly, and evenly spread samples, in bounded memory."""

    def __init__(self) -> None:
        self.low, self.high = 0.0, 0.0
        self._parts: list[Tensor] = []
        self._count = 0

    def add(self, x: Tensor) -> None:
        flat = x.detach().flatten()
        self.low, self.high = min(self.low, float(flat.min())), max(self.high, float(flat.max()))
        part = flat[:: max(len(flat) // PER_BATCH, 1)].float().cpu()
        self._parts.append(part)
        self._count += len(part)
        if self._count > SAMPLES:
            kept = torch.cat(self._parts)[::2]
            self._parts, self._count = [kept], len(kept)

    @property
    def samples(self) -> Tensor:
        return torch.cat(self._parts) if self._parts else torch.zeros(0)


def range_of(seen: Seen, method: Method) -> tuple[float, float]:
    """The range (low ≤ 0 ≤ high) for a value; never of no width.

    By ``outputs``, which samples of the value cannot tell, it is that of ``mse``.
    """
    low, high = _METHODS[method](seen) if len(seen.samples) else (seen.low, seen.high)
    return some_width(max(min(low, 0.0), seen.low), min(max(high, 0.0), seen.high))


def some_width(low: float, high: float) -> tuple[float, float]:
    """The range itself, or 0 … 1 in the place of none."""
    return (low, high) if high > low else (0.0, 1.0)


def grid_of(low: float, high: float) -> tuple[float, int]:
    """Step and zero point of 0…255 over a range that holds 0."""
    step = (high - low) / STEPS
    return step, min(max(round(-low / step), 0), STEPS)


def _whole(seen: Seen) -> tuple[float, float]:
    return seen.low, seen.high


def _percentile(seen: Seen) -> tuple[float, float]:
    ordered = seen.samples.sort().values
    last = len(ordered) - 1
    return float(ordered[round(last * (1 - KEPT))]), float(ordered[round(last * KEPT)])


def _least_error(seen: Seen) -> tuple[float, float]:
    samples = seen.samples

    def error(share: float) -> float:
        step, zero = grid_of(*_shrunk(seen, share))
        q = (samples / step).round().add_(zero).clamp_(0, STEPS).sub_(zero).mul_(step)
        return float((q - samples).square().mean())

    return _shrunk(seen, min(reversed(SHRINKS), key=error))


def _least_divergence(seen: Seen) -> tuple[float, float]:
    samples = seen.samples
    whole = torch.histc(samples, BINS, seen.low, seen.high) + 1e-3
    whole = whole / whole.sum()

    def divergence(share: float) -> float:
        low, high = _shrunk(seen, share)
        step, zero = grid_of(low, high)
        q = (samples / step).round().add_(zero).clamp_(0, STEPS).sub_(zero).mul_(step)
        spread = (torch.rand(len(q), generator=torch.Generator().manual_seed(0)) - 0.5) * step
        coarse = torch.histc((q + spread).clamp(seen.low, seen.high), BINS, seen.low, seen.high) + 1e-3
        coarse = coarse / coarse.sum()
        return float((whole * (whole / coarse).log()).sum())

    return _shrunk(seen, min(reversed(SHRINKS), key=divergence))


def _shrunk(seen: Seen, share: float) -> tuple[float, float]:
    return some_width(seen.low * share, seen.high * share)


_METHODS: dict[Method, Callable[[Seen], tuple[float, float]]] = {
    "outputs": _least_error,
    "min-max": _whole,
    "percentile": _percentile,
    "mse": _least_error,
    "entropy": _least_divergence,
}
