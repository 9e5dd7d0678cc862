"""Several labels per sample, each there or not: outputs ``(N, K)``, target ``(N, K)`` of 0 and 1; macro F1.

The outputs are logits, or probabilities where the network closes with a sigmoid. A label is given where its probability
exceeds one half.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressor.errors import DataError
from compressor.graph.nested import first
from compressor.graph.network import Network
from compressor.task.binary import softened_odds
from compressor.task.closing import closes_with, log_odds, only_shape
from compressor.task.grouped import Grouped
from compressor.task.metric import Metric
from compressor.task.task import Guess, Meter, Problem, Samples, Task, targets_of

if TYPE_CHECKING:
    from torchmetrics import Metric as TorchMetric


@dataclass(frozen=True)
class MultiLabel(Task):
    """Any number of labels per sample; macro F1."""

    metric = Metric("F1")
    probabilities: bool = False
    """Whether the outputs are probabilities; told by the network itself where it closes with a sigmoid."""

    def fitted(self, network: Network) -> MultiLabel:
        return replace(self, probabilities=self.probabilities or closes_with(network, nn.Sigmoid))

    def logits(self, outputs: Any) -> Tensor:
        """``(N, K)``, whatever the form of the outputs."""
        flat = first(outputs).flatten(1)
        return log_odds(flat) if self.probabilities else flat

    def loss(self, outputs: Any, target: Tensor) -> Tensor:
        logits = self.logits(outputs)
        return F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype))

    def scores(self, outputs: Any, target: Tensor) -> Tensor:
        """F1 of each sample's labels; 1 where none is there and none is given."""
        given, there = self.logits(outputs) > 0, target > 0.5
        both, either = (given & there).sum(1).float(), given.sum(1) + there.sum(1)
        return torch.where(either > 0, 2 * both / either.clamp_min(1), 1.0)

    def meter(self) -> Meter:
        return Grouped(_f1, lambda outputs, target: ((self.logits(outputs).detach() > 0).int(), (target > 0.5).int()))

    def plain(self, outputs: Any) -> Tensor:
        return self.logits(outputs)

    def distil(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        return softened_odds(student, teacher, temperature)

    def agreement(self, outputs: Any, reference: Any) -> Tensor:
        """The share of labels of which both say the same."""
        return ((self.logits(outputs) > 0) == (self.logits(reference) > 0)).float().mean(1)

    def check(self, network: Network, data: Problem) -> None:
        count = math.prod(only_shape(network, "multi-label"))
        for split in (data.train, data.validation):
            target = torch.as_tensor(targets_of(split))
            shape = tuple(target.shape[1:])
            if shape != (count,):
                raise DataError(
                    f"{data.name}: task = multi-label is for a row of 0 and 1 per sample, one per label; the model has "
                    f"{count} outputs, a target the shape {shape}"
                )
            wrong = target[(target != 0) & (target != 1)]
            if wrong.numel():
                raise DataError(f"{data.name}: task = multi-label is for targets of 0 and 1, one here is {wrong[0]:g}")

    def guess(self, data: Problem, samples: Samples) -> Guess | None:
        """Giving always every label: F1 of label k is then 2·p/(1 + p)."""
        if not len(samples):
            return None
        shares = torch.as_tensor(targets_of(samples)).double().mean(0)
        return Guess(float((2 * shares / (1 + shares)).mean()), "giving every label always")


def _f1(arguments: tuple[Tensor, Tensor]) -> TorchMetric:
    from torchmetrics.classification import MultilabelF1Score  # takes a second to import

    return MultilabelF1Score(num_labels=arguments[0].shape[1], average="macro")
