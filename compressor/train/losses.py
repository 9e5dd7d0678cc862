"""Losses on logits and labels.

Focal loss (Lin et al., arXiv:1708.02002) is Σ(1 − p_t)^γ · CE / batch, with p_t the probability of the true class.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from compressor.train.spec import TrainingSpec

Loss = Callable[[Tensor, Tensor], Tensor]
"""``(logits (N, K), labels (N,)) -> scalar``, the mean over the batch."""


def loss_function(spec: TrainingSpec) -> Loss:
    """The loss that ``spec`` names."""
    smoothing, gamma = spec.label_smoothing, spec.focal_gamma
    if spec.loss == "focal":
        return lambda logits, labels: focal(logits, labels, gamma=gamma, smoothing=smoothing)
    return lambda logits, labels: F.cross_entropy(logits, labels, label_smoothing=smoothing)


def focal(logits: Tensor, labels: Tensor, *, gamma: float, smoothing: float = 0.0) -> Tensor:
    """Cross entropy per sample, weighted by (1 − p_t)^γ; γ = 0 is cross entropy."""
    entropy = F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    log_true = F.log_softmax(logits, dim=1).gather(1, labels[:, None]).squeeze(1)
    # 1 − p_t through expm1, kept away from 0 where the derivative of x^γ is infinite for γ < 1
    miss = (-torch.expm1(log_true)).clamp_min(torch.finfo(logits.dtype).eps)
    return (miss.pow(gamma) * entropy).mean()
