"""Gaussian process regression (Rasmussen & Williams 2006), for tens to hundreds of observations of few numbers.

The kernel is linear in all features plus Matérn 5/2 with one length scale per feature. Length scales have the prior of
Hvarfner et al. (arXiv:2402.02229), which grows with the number of features and keeps a process over dozens of knobs
from fitting noise. Features of different kinds are counted group by group: four figures that were measured are not made
to say as little as one of sixty switches. Amplitudes, length scales and noise are the most probable ones given the
observations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compressor.search.floats import Floats

STEPS = 30
_JITTER = 1e-8
_LOWEST_NOISE = 1e-3
"""Standard deviations of the observations that are noise at least: what is measured twice differs."""


@dataclass(frozen=True)
class Prior:
    """What is believed of a process before anything is observed."""

    scale: float = 0.0
    """Standard deviation of the answers around zero, believed as if two of them were known; where 0, mean and deviation
    are those of the answers."""
    noise: float = 0.1
    """What of the observations is noise: its standard deviation over theirs."""
    groups: tuple[int, ...] = ()
    """How many features are of one kind, one number per kind; where empty, all are of one."""


UNINFORMED = Prior()


@dataclass(frozen=True)
class Prediction:
    """Mean and standard deviation of the noiseless answer, each ``(N,)``."""

    mean: Floats
    std: Floats


@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """A fitted process; ``fit_process`` makes one."""

    inputs: Tensor
    hyper: Tensor
    weights: Tensor
    """The inverse covariance times the observations."""
    factor: Tensor
    """Cholesky factor of the covariance of the observations."""
    offset: float
    scale: float

    @property
    def noise(self) -> float:
        """Standard deviation of one observation around the noiseless answer."""
        return math.sqrt(float(_noise(self.hyper))) * self.scale

    def predict(self, inputs: Floats) -> Prediction:
        """The answers at ``inputs`` ``(N, D)``."""
        new = torch.as_tensor(inputs, dtype=torch.float64)
        cross = _kernel(new, self.inputs, self.hyper)
        solved = torch.linalg.solve_triangular(self.factor, cross.T, upper=False)
        variance = _variances(new, self.hyper) - solved.square().sum(0)
        std = variance.clamp_min(_JITTER).sqrt() * self.scale
        return Prediction((cross @ self.weights * self.scale + self.offset).numpy(), std.numpy())


def fit_process(
    inputs: Floats,
    answers: Floats,
    *,
    start: GaussianProcess | None = None,
    steps: int = STEPS,
    prior: Prior = UNINFORMED,
) -> GaussianProcess:
    """The process given ``answers`` ``(N,)`` at ``inputs`` ``(N, D)``, N ≥ 1.

    ``start``: one fitted before, whose hyperparameters are the first guess; with ``steps`` = 0 they stay as they are.
    """
    x = torch.as_tensor(inputs, dtype=torch.float64)
    offset = float(np.mean(answers)) if not prior.scale else 0.0
    centred = answers - offset
    scale = math.sqrt((float(np.sum(centred**2)) + 2 * prior.scale**2) / (len(answers) + (2 if prior.scale else 0)))
    scale = scale or 1.0
    y = torch.as_tensor(centred / scale, dtype=torch.float64)
    likeliest = _likeliest(prior, x.shape[1])
    first = start.hyper if start is not None and len(start.hyper) == len(likeliest) else _first_guess(likeliest)
    hyper = _most_probable(x, y, first, likeliest, steps) if len(answers) > 1 and steps else first
    factor = _factor(x, hyper)
    weights = torch.cholesky_solve(y[:, None], factor)[:, 0]
    return GaussianProcess(x, hyper, weights, factor, offset, scale)


def _likeliest(prior: Prior, features: int) -> Tensor:
    """The mode of each hyperparameter's logarithm, around which it has the standard deviation 1: amplitudes of the
    linear part and of Matérn's, noise, then a length scale per feature."""
    lengths = [math.sqrt(2) + math.log(size) / 2 - 1.0 for size in prior.groups or (features,) for _ in range(size)]
    return torch.tensor([-0.5, -0.5, math.log(prior.noise), *lengths], dtype=torch.float64)


def _first_guess(likeliest: Tensor) -> Tensor:
    """The modes, but for amplitudes that add up to what was observed."""
    amplitudes = torch.tensor([math.log(0.5), math.log(0.7)], dtype=torch.float64)
    return torch.cat([amplitudes, likeliest[2:]])


def _most_probable(x: Tensor, y: Tensor, first: Tensor, likeliest: Tensor, steps: int) -> Tensor:
    """Maximum a posteriori hyperparameters."""
    hyper = first.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([hyper], max_iter=steps, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = _negative_log_posterior(x, y, hyper, likeliest)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    try:
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    except RuntimeError:  # far out the covariance may be none (LinAlgError): the first guess gives one
        return first
    found = hyper.detach()
    return found if bool(found.isfinite().all()) else first


def _negative_log_posterior(x: Tensor, y: Tensor, hyper: Tensor, likeliest: Tensor) -> Tensor:
    factor = _factor(x, hyper)
    solved = torch.linalg.solve_triangular(factor, y[:, None], upper=False)
    likelihood: Tensor = 0.5 * solved.square().sum() + factor.diagonal().log().sum()
    return likelihood + (hyper - likeliest).square().sum() / 2


def _factor(x: Tensor, hyper: Tensor) -> Tensor:
    factor: Tensor = torch.linalg.cholesky(
        _kernel(x, x, hyper) + _noise(hyper) * torch.eye(len(x), dtype=torch.float64)
    )
    return factor


def _noise(hyper: Tensor) -> Tensor:
    """Variance of the noise."""
    return hyper[2].exp().square() + _LOWEST_NOISE**2


def _kernel(left: Tensor, right: Tensor, hyper: Tensor) -> Tensor:
    linear, amplitude, lengths = hyper[0].exp().square(), hyper[1].exp().square(), hyper[3:].exp()
    features = left.shape[1]
    squared = (
        (left / lengths).square().sum(1)[:, None]
        + (right / lengths).square().sum(1)
        - 2 * (left / lengths) @ (right / lengths).T
    )
    distance = (5 * squared.clamp_min(1e-12)).sqrt()
    matern = (1 + distance + distance.square() / 3) * (-distance).exp()
    kernel: Tensor = linear * (left @ right.T + 1) / (features + 1) + amplitude * matern
    return kernel


def _variances(x: Tensor, hyper: Tensor) -> Tensor:
    """The diagonal of ``_kernel(x, x)``."""
    linear, amplitude = hyper[0].exp().square(), hyper[1].exp().square()
    variances: Tensor = linear * (x.square().sum(1) + 1) / (x.shape[1] + 1) + amplitude
    return variances
