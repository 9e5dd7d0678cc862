"""Linear maps fitted to activations.

    minimise  ‖Y − X Mᵀ − 1 bᵀ‖² / n + λ ‖M − M₀‖²        λ = ridge · mean variance of X

solved in double precision by the normal equations; M₀ is where the fit goes when the samples say nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

RIDGE = 1e-3


@torch.no_grad()
def fit_affine(x: Tensor, y: Tensor, prior: Tensor | None = None, ridge: float = RIDGE) -> tuple[Tensor, Tensor]:
    """``(M, b)`` with ``y ≈ x Mᵀ + b``; ``x`` is (n, K), ``y`` (n, D), ``M`` and ``prior`` (D, K), ``b`` (D,)."""
    x64, y64 = x.double(), y.double()
    mean_x, mean_y = x64.mean(0), y64.mean(0)
    x64, y64 = x64 - mean_x, y64 - mean_y
    start = torch.zeros(y64.shape[1], x64.shape[1], dtype=torch.float64, device=x.device)
    start = start if prior is None else prior.double()
    second = x64.T @ x64 / len(x64)
    strength = ridge * second.diagonal().mean() + 1e-12
    second.diagonal().add_(strength)
    correction = torch.linalg.solve(second, x64.T @ (y64 - x64 @ start.T) / len(x64))
    matrix = start + correction.T
    return matrix.to(x.dtype), (mean_y - matrix @ mean_x).to(x.dtype)


def pixels(images: Tensor, *, last: bool = False) -> Tensor:
    """(N, C, H, W), or with channels ``last`` (N, H, W, C), as one row per pixel: (N·H·W, C). Of any rank."""
    return images.flatten(0, -2) if last else images.flatten(2).transpose(1, 2).flatten(0, 1)
