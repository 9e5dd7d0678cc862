"""Two classes told by one number per sample.

Outputs ``(N,)``, ``(N, 1)`` or ``(N, 1, 1, 1)``; target ``(N,)`` of 0 and 1. The outputs are logits, or probabilities
of class 1 where the network closes with a sigmoid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressor.errors import DataError
from compressor.graph.nested import first
from compressor.graph.network import Network
from compressor.task.closing import closes_with, log_odds, only_shape
from compressor.task.metric import Metric
from compressor.task.task import Guess, Problem, Samples, Task, targets_of


@dataclass(frozen=True)
class Binary(Task):
    """Two classes told by one logit; accuracy."""

    metric = Metric("accuracy")
    probabilities: bool = False
    """Whether the outputs are probabilities; told by the network itself where it closes with a sigmoid."""

    def fitted(self, network: Network) -> Binary:
        return replace(self, probabilities=self.probabilities or closes_with(network, nn.Sigmoid))

    def logits(self, outputs: Any) -> Tensor:
        """``(N,)``, whatever the form of the outputs."""
        output = first(outputs)
        flat = output.reshape(len(output))
        return log_odds(flat) if self.probabilities else flat

    def loss(self, outputs: Any, target: Tensor) -> Tensor:
        logits = self.logits(outputs)
        return F.binary_cross_entropy_with_logits(logits, target.reshape(-1).to(logits.dtype))

    def scores(self, outputs: Any, target: Tensor) -> Tensor:
        """1 where the answer is right, else 0."""
        return ((self.logits(outputs) > 0) == (target.reshape(-1) > 0.5)).float()

    def plain(self, outputs: Any) -> Tensor:
        return self.logits(outputs)

    def distil(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        return softened_odds(student, teacher, temperature)

    def agreement(self, outputs: Any, reference: Any) -> Tensor:
        """1 where both say the same class, else 0."""
        return ((self.logits(outputs) > 0) == (self.logits(reference) > 0)).float()

    def check(self, network: Network, data: Problem) -> None:
        shape = only_shape(network, "binary")
        if math.prod(shape) != 1:
            raise DataError(f"{data.name}: task = binary is for one number per sample, the model gives {shape}")
        for split in (data.train, data.validation):
            wrong = [
                value for value in set(torch.as_tensor(targets_of(split)).flatten().tolist()) if value not in (0, 1)
            ]
            if wrong:
                raise DataError(f"{data.name}: task = binary is for targets of 0 and 1, one here is {wrong[0]:g}")

    def guess(self, data: Problem, samples: Samples) -> Guess | None:
        if not len(samples):
            return None
        ones = float(torch.as_tensor(targets_of(samples)).float().mean())
        share, answer = max(ones, 1 - ones), int(ones >= 0.5)
        return Guess(share, f"answering {answer} always", math.sqrt(share * (1 - share) / len(samples)))


def softened_odds(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² · KL between softened two-way answers given by logits of any shape, mean over all of them."""
    wanted = torch.sigmoid(teacher / temperature)
    entropy = F.binary_cross_entropy_with_logits(student / temperature, wanted)
    least = F.binary_cross_entropy_with_logits(teacher / temperature, wanted)
    return (entropy - least) * temperature**2
