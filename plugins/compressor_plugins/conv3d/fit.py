"""Weights of a convolution over channels that come as close as possible to those of a 2-D one.

Output (a, j) of the new layer reads, at place a, the channels c(a, 1), c(a, 2), … with one and the same kernel w_j, so

    w_j = argmin Σ_a E ‖(w_j − W[o(a, j)]) · x restricted to the channels of place a‖²  + what the others of W give

is a small linear system per kernel, with the covariance Σ of the patches x of the layer's input:

    Σ_a Σ[c(a), c(a)] w_j = Σ_a Σ[c(a), :] W[o(a, j)]

with Σ damped towards the identity. Where patches are too long for their covariance, that of channels alone stands in,
tap by tap; without data the identity does: then w_j is the mean of W along its diagonals, the best fit of the weights
themselves (Frobenius norm). The bias makes up for the mean that is lost, as far as one value per kernel can.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compressor_plugins.common.patches import damped, patches, spread

LONGEST_PATCH = 1300
"""Values of a patch up to which its covariance is taken: 144 channels of 3×3."""
RIDGE = 1e-6
"""Keeps the system solvable, as a share of the mean diagonal."""


@dataclass(frozen=True)
class Moments:
    """Mean (C, B) and damped covariance (C, B, C, B) of an input: B taps of a patch, or B = 1 for channels alone."""

    mean: Tensor
    covariance: Tensor

    @staticmethod
    def unknown(channels: int) -> Moments:
        """What stands in without data."""
        return Moments(torch.zeros(channels, 1), torch.eye(channels).view(channels, 1, channels, 1))


@torch.no_grad()
def moments(x: Tensor, conv: nn.Conv2d) -> Moments:
    """Of the input images ``x`` (N, C, H, W) as ``conv`` reads them; some thousand positions, evenly spread."""
    channels, taps = conv.in_channels, conv.kernel_size[0] * conv.kernel_size[1]
    block = taps if channels * taps <= LONGEST_PATCH else 1
    wanted = min(max(4 * channels * block, 2048), 8192)
    rows = patches(x, conv, wanted) if block > 1 else spread(x.flatten(2).transpose(1, 2).flatten(0, 1), wanted)
    rows = rows.double()
    mean = rows.mean(0)
    rows = rows - mean
    covariance = damped(rows.T @ rows / len(rows)).float().cpu()
    return Moments(mean.float().cpu().view(channels, block), covariance.view(channels, block, channels, block))


@torch.no_grad()
def fit_kernels(
    weight: Tensor, bias: Tensor | None, reads: Tensor, writes: Tensor, known: Moments
) -> tuple[Tensor, Tensor | None]:
    """Kernels (J, U, kh, kw) and biases (J,) for ``weight`` (D, C, kh, kw) and ``bias`` (D,).

    ``reads`` (A, U): the channel each of U depths reads at each of A places, C for none; ``writes`` (A, J): the output
    each kernel gives there.
    """
    outputs, channels, *kernel = weight.shape
    block, depths = known.mean.shape[1], reads.shape[1]
    flat = weight.detach().float().cpu().reshape(outputs, channels, block, -1)
    covariance = F.pad(known.covariance.double(), (0, 0, 0, 1, 0, 0, 0, 1))
    gram = torch.zeros(depths * block, depths * block, dtype=torch.float64)
    target = torch.zeros(depths * block, writes.shape[1] * flat.shape[3], dtype=torch.float64)
    for read, write in zip(reads, writes, strict=True):
        rows = covariance[read].reshape(depths * block, channels + 1, block)
        gram += rows[:, read].reshape(depths * block, depths * block)
        wanted = flat[write].double().flatten(1, 2).permute(1, 0, 2).flatten(1)
        target += rows[:, :channels].reshape(depths * block, channels * block) @ wanted
    gram.diagonal().add_(RIDGE * gram.diagonal().mean() + 1e-12)
    solved = torch.linalg.solve(gram, target).float()
    kernels = solved.view(depths, block, -1, flat.shape[3]).permute(2, 0, 1, 3).reshape(-1, depths, *kernel)
    if bias is None:
        return kernels, None
    mean = F.pad(known.mean, (0, 0, 0, 1))
    old = bias.detach().float().cpu() + torch.einsum("dcbt,cb->d", flat, known.mean)
    new = torch.einsum("jubt,aub->aj", kernels.view(len(kernels), depths, block, -1), mean[reads])
    return kernels, (old[writes] - new).mean(0)
