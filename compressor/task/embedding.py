"""Embedding: a vector per sample, near those of the same kind and far from others; recall@1.

Outputs ``(N, D)``, of any length; target ``(N,)``, the kind of each sample, int64. The loss is the supervised
contrastive one (Khosla et al., arXiv:2004.11362): −mean over pairs of one kind of log softmax(cos(zᵢ, zⱼ)/τ). Recall@1
is the share of samples whose nearest neighbour among all others, by cosine, is of their kind; kinds with one sample
count nowhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from compressor.errors import DataError
from compressor.graph.nested import first
from compressor.graph.network import Network
from compressor.task.metric import Metric
from compressor.task.task import Guess, Meter, Problem, Samples, Task, targets_of

_ROWS = 1024
"""Samples that are compared with all others at a time."""


@dataclass(frozen=True)
class Embedding(Task):
    """A vector per sample; recall@1."""

    metric = Metric("recall@1")
    metered_in_training: ClassVar[bool] = False
    temperature: float = 0.1
    """τ of the loss."""

    def loss(self, outputs: Any, target: Tensor) -> Tensor:
        vectors = F.normalize(first(outputs).flatten(1), dim=1)
        others = ~torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
        similar = (vectors @ vectors.T / self.temperature).masked_fill(~others, -torch.inf)
        log_share = similar - similar.logsumexp(1, keepdim=True)
        same = (target[:, None] == target[None, :]) & others
        if not same.any():
            return vectors.sum() * 0.0
        return -log_share[same].mean()

    def scores(self, outputs: Any, target: Tensor) -> Tensor:
        """1 where the nearest of the batch is of the same kind, else 0."""
        return nearest_is_same(first(outputs).flatten(1), target).float()

    def meter(self) -> Meter:
        return _Recall()

    def distil(self, student: Any, teacher: Any, temperature: float) -> Tensor:
        """1 − cos between the two vectors, mean over the batch; no temperature."""
        return (1 - F.cosine_similarity(first(student).flatten(1), first(teacher).flatten(1))).mean()

    def agreement(self, outputs: Any, reference: Any) -> Tensor:
        """cos between the two vectors, at least 0."""
        return F.cosine_similarity(first(outputs).flatten(1), first(reference).flatten(1)).clamp_min(0.0)

    def check(self, network: Network, data: Problem) -> None:
        kinds = torch.as_tensor(targets_of(data.validation))
        if kinds.ndim != 1:
            raise DataError(f"{data.name}: task = embedding is for one kind (an integer) per sample")
        if int(torch.unique(kinds, return_counts=True)[1].max()) < 2:
            raise DataError(f"{data.name}: no two validation samples are of one kind: recall@1 cannot be told")

    def guess(self, data: Problem, samples: Samples) -> Guess | None:
        """Naming any other sample."""
        kinds = torch.as_tensor(targets_of(samples))
        counts = torch.unique(kinds, return_counts=True)[1].double()
        if len(kinds) < 2:
            return None
        share = float((counts * (counts - 1)).sum()) / (len(kinds) * (len(kinds) - 1))
        return Guess(share, "naming any other sample", math.sqrt(share * (1 - share) / len(kinds)))


class _Recall:
    """Keeps every vector (float32): recall needs them all."""

    def __init__(self) -> None:
        self._vectors: list[Tensor] = []
        self._kinds: list[Tensor] = []

    def update(self, outputs: Any, target: Tensor) -> None:
        self._vectors.append(first(outputs).detach().flatten(1).float())
        self._kinds.append(target)

    def value(self) -> float:
        right, count = self._counted()
        return right / count if count else math.nan

    def error(self) -> float | None:
        right, count = self._counted()
        return math.sqrt(right / count * (1 - right / count) / count) if count else None

    def _counted(self) -> tuple[int, int]:
        if not self._vectors:
            return 0, 0
        kinds = torch.cat(self._kinds)
        _, place, counts = torch.unique(kinds, return_inverse=True, return_counts=True)
        answerable = counts[place] > 1
        same = nearest_is_same(torch.cat(self._vectors), kinds)
        return int((same & answerable).sum()), int(answerable.sum())


def nearest_is_same(vectors: Tensor, kinds: Tensor) -> Tensor:
    """Whether each vector's nearest other one is of its kind, ``(N,)``; some rows at a time."""
    directions = F.normalize(vectors, dim=1)
    found = []
    for start in range(0, len(directions), _ROWS):
        part = directions[start : start + _ROWS] @ directions.T
        here = torch.arange(len(part), device=part.device)
        part[here, here + start] = -torch.inf
        found.append(kinds[part.argmax(1)] == kinds[start : start + _ROWS])
    return torch.cat(found)
