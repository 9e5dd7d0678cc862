"""Rounding weights so that the answers of the layer stay, not the weights.

    min  E ‖(Ŵ − W) x‖²  = Σ_rows (ŵ − w) H (ŵ − w)ᵀ,      H = E[x xᵀ],  x what a weight row is multiplied by

Weights are rounded one input after the other, those with the largest H first, and what each leaves of an error is made
up for by those not rounded yet: by the least squares of H, for all rows at once. No labels, no gradients; K inputs take
K steps. The mean of what is left goes into the bias.

Sources: Hassibi & Stork, optimal brain surgeon (NeurIPS 1992); Frantar et al., GPTQ (arXiv:2210.17323); the goal is
that of Nagel et al., AdaRound (arXiv:2004.10568).
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

from compressor_plugins.common.weight_steps import integers
from compressor_plugins.quantize.geometry import padding_of

DAMPING = 0.01
"""What is added to the diagonal of H, as a share of its mean."""
ROWS = 2048
"""Rows of one batch that count towards H, evenly spread; the mean is that of all."""
BLOCK = 64
"""Inputs that are rounded before those behind them are made up for, in one product: the same sums, from memory once."""
MOST_INPUTS = 2304
"""Layers with more inputs per output are rounded to the nearest: H would take too long."""


class Inputs:
    """Of what a layer reads, the mean (groups, K) and the second moments (groups, K, K), over the batches added."""

    def __init__(self, moments: bool) -> None:
        self.mean: Tensor | None = None
        self.moments: Tensor | None = None
        self._wants_moments = moments
        self._count = 0

    def add(self, shell: nn.Module, x: Tensor) -> None:
        with torch.no_grad():
            self._add(shell, x.detach())

    def _add(self, shell: nn.Module, x: Tensor) -> None:
        share = len(x) / (self._count + len(x))
        self._count += len(x)
        mean = mean_row(shell, x)
        self.mean = mean if self.mean is None else torch.lerp(self.mean, mean, share)
        if self._wants_moments and mean.shape[1] <= MOST_INPUTS:
            rows = input_rows(shell, x, ROWS)
            moments = rows.mT @ rows / rows.shape[1]
            self.moments = moments if self.moments is None else torch.lerp(self.moments, moments, share)


def compensated(weight: Tensor, step: Tensor, largest: int, moments: Tensor) -> Tensor:
    """Weights (groups, R, K) as whole steps (groups, R, 1) of themselves, for second moments (groups, K, K)."""
    return torch.stack([_rounded_group(*part, largest) for part in zip(weight, step, moments, strict=True)])


def _rounded_group(weight: Tensor, step: Tensor, moments: Tensor, largest: int) -> Tensor:
    order = moments.diagonal().argsort(descending=True)
    spread = moments[order][:, order].double()
    spread += (DAMPING * spread.diagonal().mean() + 1e-12) * torch.eye(len(spread)).to(spread)
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(spread)), upper=True)
    left, steps = weight[:, order].double().mT.contiguous(), step.double()[:, 0]  # an input is a row: (K, R), (R,)
    whole = torch.zeros_like(left)
    for start in range(0, len(left), BLOCK):
        block = slice(start, start + BLOCK)
        errors = _round_block(left[block], whole[block], inverse[block, block], steps, largest)
        left[start + BLOCK :] -= inverse[block, start + BLOCK :].mT @ errors
    return whole[order.argsort()].mT.to(weight.dtype)


def _round_block(left: Tensor, whole: Tensor, inverse: Tensor, steps: Tensor, largest: int) -> Tensor:
    """Round the inputs ``left`` into ``whole``, making up for errors within the block; the errors, for those behind."""
    errors = torch.zeros_like(left)
    for k, row in enumerate(inverse):
        whole[k] = integers(left[k], steps, largest) * steps
        errors[k] = (left[k] - whole[k]) / row[k]
        left[k + 1 :] -= row[k + 1 :, None] * errors[k]
    return errors


# --- what a weight row is multiplied by ------------------------------------------------------------------------------


def input_rows(shell: nn.Module, x: Tensor, wanted: int) -> Tensor:
    """Rows (groups, about ``wanted``, K) of what the outputs read, in the order of a weight row."""
    if not isinstance(shell, _ConvNd):
        rows = x.flatten(0, -2)
        return rows[:: max(len(rows) // wanted, 1)][None]
    positions = max(len(_taps(shell, x[:1])[0].flatten(2)[0, 0]), 1)
    images = x[:: max(len(x) * positions // (8 * wanted), 1)]  # some whole images hold all the positions asked for
    taps = torch.stack([tap.flatten(2) for tap in _taps(shell, images)], 2)  # images, channels, taps, positions
    grouped = taps.view(len(images), shell.groups, -1, *taps.shape[2:])
    rows = grouped.permute(1, 0, 4, 2, 3).flatten(1, 2).flatten(2)
    return rows[:, :: max(rows.shape[1] // wanted, 1)]


def mean_row(shell: nn.Module, x: Tensor) -> Tensor:
    """The mean of all rows, (groups, K)."""
    if not isinstance(shell, _ConvNd):
        return x.flatten(0, -2).mean(0, keepdim=True)
    taps = torch.stack([tap.flatten(2).mean((0, 2)) for tap in _taps(shell, x)], 1)  # channels, taps
    return taps.reshape(shell.groups, -1)


def _taps(conv: _ConvNd, x: Tensor) -> list[Tensor]:
    """What each place of the kernel reads, (N, channels, *output sides), in the order of the kernel."""
    begin, end = padding_of(conv)
    padded = F.pad(x, [side for pair in zip(reversed(begin), reversed(end), strict=True) for side in pair])
    found = []
    for place in itertools.product(*map(range, conv.kernel_size)):
        window = padded
        for axis, at in enumerate(place):
            first, reach = at * conv.dilation[axis], conv.dilation[axis] * (conv.kernel_size[axis] - 1)
            last = first + padded.shape[axis + 2] - reach
            window = window[(slice(None),) * (axis + 2) + (slice(first, last, conv.stride[axis]),)]
        found.append(window)
    return found
