"""Linear maps fitted to activations.

    minimise  ‖Y − X Mᵀ − 1 bᵀ‖² / n + λ ‖M − M₀‖²        λ = ridge · mean variance of X

solved in double precision by the normal equations; M₀ is where the fit goes when the samples say nothing. With R the
residual of M₀, and everything centred,

    M − M₀ = ( (XᵀX / n + λ)⁻¹ XᵀR / n )ᵀ = ( Xᵀ (XXᵀ / n + λ)⁻¹ R / n )ᵀ

of which the second form costs the cube of the samples in the place of that of the inputs: of the first dense layer of a
VGG, which reads 25,088 values, nothing in the place of minutes and 5 GB.
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
    start = None if prior is None else prior.double()
    residual = (y64 if start is None else y64 - x64 @ start.T) / len(x64)
    wide = x64.shape[1] > len(x64)
    second = (x64 @ x64.T if wide else x64.T @ x64) / len(x64)
    second.diagonal().add_(ridge * x64.square().mean() + 1e-12)
    solved = x64.T @ torch.linalg.solve(second, residual) if wide else torch.linalg.solve(second, x64.T @ residual)
    matrix = solved.T if start is None else start + solved.T
    return matrix.to(x.dtype), (mean_y - matrix @ mean_x).to(x.dtype)


def pixels(images: Tensor, *, last: bool = False) -> Tensor:
    """(N, C, H, W), or with channels ``last`` (N, H, W, C), as one row per pixel: (N·H·W, C). Of any rank."""
    return images.flatten(0, -2) if last else images.flatten(2).transpose(1, 2).flatten(0, 1)
