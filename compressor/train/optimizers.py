"""The optimizers a ``TrainingSpec`` can name."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from compressor.train.spec import TrainingSpec


def make_optimizer(spec: TrainingSpec, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer of ``spec`` over ``parameters``, in torch's fused form: one kernel for all of them."""
    weights = list(parameters)
    if spec.optimizer == "adamw":
        return torch.optim.AdamW(weights, lr=spec.lr, weight_decay=spec.weight_decay, fused=True)
    if spec.optimizer == "sgd":
        momentum = spec.momentum
        return torch.optim.SGD(
            weights, lr=spec.lr, momentum=momentum, nesterov=momentum > 0, weight_decay=spec.weight_decay, fused=True
        )
    return torch.optim.Adam(weights, lr=spec.lr, weight_decay=spec.weight_decay, fused=True)
