"""Groups and mix that come as close as possible to a dense layer: a singular value decomposition per group.

The columns of group g, W[:, g] of shape (M·L, n), are read as a matrix (M, L·n), one row for each of M. What groups and
mix can express of it is a matrix of rank R, and the best one in Frobenius norm is

    W[:, g] ≈ Σ_r σ_r u_r v_rᵀ,        A[g, r] = √σ_r u_r,    own weight = √σ_r v_r

exact where W has that structure. With data the norm is that of the outputs instead: columns are multiplied by the
Cholesky factor C_g before and by its inverse after, C_g C_gᵀ the covariance of the group's inputs, damped towards the
identity (any root of it gives the same fit). The bias makes up for the mean that is lost, as far as that can be had
without large numbers that cancel:

    min over b  ‖Aᵀb − wanted‖² + λ Σ_v ‖a_v‖² b_v²,  the least λ for which  Σ_v ‖a_v‖² b_v² ≤ (3 ‖wanted‖)²

Groups that mix nearly alike would need biases of hundreds whose mix is one; the first step of training, a dropout, or
sixteen bits make noise of that.

With a softmax the mix is positive and its columns sum to one: log |u| is what it starts from, and the own weights are
the least squares fit for that mix.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from compressor_plugins.common.patches import damped

CANCELLING = 3.0
"""How many times as large as their sum the biases' parts of it may be."""
RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class GroupMoments:
    """Mean (G, n) and damped covariance (G, n, n) of the inputs of each group."""

    mean: Tensor
    covariance: Tensor


@torch.no_grad()
def group_moments(rows: Tensor, groups: int) -> GroupMoments:
    """Of inputs (samples, K), K in equal groups."""
    parts = rows.double().view(len(rows), groups, -1).transpose(0, 1)
    mean = parts.mean(1, keepdim=True)
    centred = parts - mean
    covariance = damped(centred.transpose(1, 2) @ centred / rows.shape[0])
    return GroupMoments(mean[:, 0].float().cpu(), covariance.float().cpu())


@torch.no_grad()
def rows_by_group(weight: Tensor, groups: int, known: GroupMoments | None = None) -> Tensor:
    """A dense ``weight`` (H, K) as (G, H, K / G), in the norm of the outputs where there is data."""
    outputs, _ = weight.shape
    parts = weight.detach().float().cpu().view(outputs, groups, -1).transpose(0, 1)
    return parts if known is None else parts @ _root(known.covariance).float()


@torch.no_grad()
def fit_groups(
    weight: Tensor, groups: int, mixed: int, ranks: int, *, softmax: bool = False, known: GroupMoments | None = None
) -> tuple[Tensor, Tensor]:
    """Own weights (G·R, L, n) and mix (G·R, M) for a dense ``weight`` (M·L, K)."""
    outputs, _ = weight.shape
    parts = weight.detach().double().cpu().view(outputs, groups, -1).transpose(0, 1)
    root = None if known is None else _root(known.covariance)
    matrices = (parts if root is None else parts @ root).reshape(groups, mixed, -1)
    u, s, _ = torch.linalg.svd(matrices, full_matrices=False)
    kept = min(ranks, s.shape[1])
    mix = torch.zeros(groups, ranks, mixed, dtype=torch.float64)
    mix[:, :kept] = (u[:, :, :kept] * s[:, None, :kept].sqrt()).transpose(1, 2)
    stored = mix.view(-1, mixed)
    if softmax:
        stored = stored.abs().clamp_min(1e-3 * float(stored.abs().mean())).log()
        mix = stored.softmax(0).view(groups, ranks, mixed)
    own = torch.linalg.pinv(mix.transpose(1, 2)) @ matrices
    own = own.view(groups, ranks * outputs // mixed, -1)
    if root is not None:
        own = torch.linalg.solve_triangular(root, own, upper=False, left=False)
    return own.reshape(groups * ranks, outputs // mixed, -1).float().contiguous(), stored.float()


def _root(covariance: Tensor) -> Tensor:
    """Lower triangular C with C Cᵀ = Σ, one for each group, in double precision; what never moves counts a little."""
    least = 1e-12 * torch.eye(covariance.shape[-1], dtype=torch.float64)
    root: Tensor = torch.linalg.cholesky(covariance.double() + least)
    return root


@torch.no_grad()
def fit_bias(
    weight: Tensor, bias: Tensor, own: Tensor, mix: Tensor, groups: int, known: GroupMoments | None = None
) -> Tensor:
    """Biases (G·R, L) whose mix is ``bias`` (M·L,) and what the groups lose of the mean output, or near it."""
    results, width, _ = own.shape
    wanted = bias.detach().double().cpu()
    if known is not None:
        mean = known.mean.double()
        grouped = own.double().view(groups, results // groups, width, -1)
        means = torch.einsum("grln,gn->grl", grouped, mean).reshape(results, width)
        wanted = wanted + weight.detach().double().cpu() @ mean.flatten() - (mix.double().t() @ means).flatten()
    return _without_cancelling(mix.double().t(), wanted.view(-1, width)).float()


def _without_cancelling(mix: Tensor, wanted: Tensor) -> Tensor:
    """Least squares b for ``mix`` (M, V) · b = ``wanted`` (M, L), exact where the exact one is not too large."""
    weights = mix.square().sum(0)
    values: Tensor = torch.linalg.pinv(mix) @ wanted
    for ridge in RIDGES:
        if float(weights @ values.square().sum(1)) <= float(CANCELLING * wanted.norm()) ** 2:
            break
        values = torch.linalg.pinv(mix.t() @ mix + ridge * weights.diag()) @ mix.t() @ wanted
    return values
