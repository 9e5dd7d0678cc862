"""Agreement: no labels at all. The network is held to the answers of the baseline on unlabelled inputs.

Outputs: any. Target: the baseline's outputs for the same inputs. The metric is the mean agreement, 100 % for the
baseline itself. Which agreement is ``like``'s: of two classifiers, the share of equal answers; by default
1 − |a − b| / |b|.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from compressor.graph.nested import tensors
from compressor.graph.network import Network
from compressor.task.binary import Binary
from compressor.task.classification import Classification
from compressor.task.embedding import Embedding
from compressor.task.metric import Metric
from compressor.task.multilabel import MultiLabel
from compressor.task.segmentation import Segmentation
from compressor.task.task import Task, relative_agreement

_LIKE: Mapping[str, Any] = {
    "classification": Classification,
    "binary": Binary,
    "multi-label": MultiLabel,
    "segmentation": Segmentation,
    "embedding": Embedding,
}


@dataclass(frozen=True)
class Agreement(Task):
    """The baseline's own answers, without labels."""

    metric = Metric("agreement")
    like: Literal["numbers", "classification", "binary", "multi-label", "segmentation", "embedding"] = "numbers"
    """What the answers are: classes to be named alike, vectors to point alike, or just numbers to be near."""
    temperature: float = 1.0
    """Of the distillation that training makes small, where answers are classes."""
    probabilities: bool = False
    """Whether the answers are probabilities; told by the network itself where it closes with a softmax or sigmoid."""

    @cached_property
    def inner(self) -> Task | None:
        """The task whose agreement it is; None for numbers."""
        kind = _LIKE.get(self.like)
        if kind is None:
            return None
        task: Task = kind(probabilities=self.probabilities) if hasattr(kind, "probabilities") else kind()
        return task

    def fitted(self, network: Network) -> Agreement:
        if self.inner is None:
            return self
        return replace(self, probabilities=getattr(self.inner.fitted(network), "probabilities", False))

    own_answers: ClassVar[bool] = True

    def loss(self, outputs: Any, target: Any) -> Tensor:
        """The distillation of ``like``; for numbers ½ · mean((a − b)²) / mean(b²), mean over the outputs."""
        lost = self.distil(self.plain(outputs), self.plain(target), self.temperature)
        assert lost is not None
        return lost

    def scores(self, outputs: Any, target: Any) -> Tensor:
        return self.agreement(outputs, target)

    def plain(self, outputs: Any) -> Any:
        return outputs if self.inner is None else self.inner.plain(outputs)

    def distil(self, student: Any, teacher: Any, temperature: float) -> Tensor | None:
        if self.inner is not None:
            return self.inner.distil(student, teacher, temperature)
        pairs = zip(tensors(student), tensors(teacher), strict=True)
        lost = [0.5 * (a - b).square().mean() / b.square().mean().clamp_min(1e-12) for a, b in pairs]
        return torch.stack(lost).mean()

    def agreement(self, outputs: Any, reference: Any) -> Tensor:
        return (
            relative_agreement(outputs, reference) if self.inner is None else self.inner.agreement(outputs, reference)
        )
