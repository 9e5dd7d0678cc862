"""The step of each output channel's weights: q = clip(round(w / s), −m, m), m the largest integer."""

from __future__ import annotations

import torch
from torch import Tensor

CLIPS = torch.linspace(0.4, 1.0, 49).tolist()
"""Shares of max|w| tried as the range of a channel."""


def integers(w: Tensor, step: Tensor, largest: int) -> Tensor:
    """Whole numbers −largest…largest, as floats; ``step`` broadcasts to ``w``."""
    return (w / step).round().clamp(-largest, largest)


def whole_range_steps(rows: Tensor, largest: int) -> Tensor:
    """Steps (N,) of weights (N, …): the largest weight is the largest integer; dead rows take the usual step."""
    step = rows.detach().flatten(1).abs().amax(1) / largest
    alive = step > 1e-12
    usual = step[alive].median() if bool(alive.any()) else torch.ones((), device=rows.device)
    return torch.where(alive, step, usual)


def least_error_steps(rows: Tensor, largest: int) -> Tensor:
    """Steps (N,) of weights (N, …) whose range, up to the largest weight, loses least by rounding and clipping."""
    rows = rows.detach().flatten(1)
    full = whole_range_steps(rows, largest)
    best, least = full, torch.full_like(full, torch.inf)
    for share in CLIPS:
        step = full * share
        error = (integers(rows, step[:, None], largest) * step[:, None] - rows).square().sum(1)
        best = torch.where(error <= least, step, best)
        least = torch.minimum(error, least)
    return best
