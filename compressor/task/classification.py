"""Classification: one class per sample, scored by the share of right answers.

Outputs ``(N, K)``, also ``(N, K, 1, 1)``, alone or nested: logits, or probabilities where the network closes with a
softmax. Target: class indices ``(N,)``, int64. Focal loss (Lin et al., arXiv:1708.02002) is Σ(1 − p_t)^γ · CE / batch,
with p_t the probability of the true class. Distillation (Hinton et al., arXiv:1503.02531): T² · KL(softmax(t/T) ‖
softmax(s/T)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressor.errors import CaptureError, DataError
from compressor.graph.nested import first, value_in_words
from compressor.graph.network import Network
from compressor.task.closing import closes_with, logits_of, only_shape
from compressor.task.metric import Metric
from compressor.task.paired import evidently_better
from compressor.task.task import Guess, Loss, LossSpec, Problem, Samples, Task, targets_of

_RELABELLED = 0.2
"""Share of answers that another order of the classes must put right before it is named as the cause."""


@dataclass(frozen=True)
class Classification(Task):
    """One class per sample; accuracy."""

    metric = Metric("accuracy")
    probabilities: bool = False
    """Whether the outputs are probabilities; told by the network itself where it closes with a softmax."""

    def fitted(self, network: Network) -> Classification:
        return replace(self, probabilities=self.probabilities or closes_with(network, nn.Softmax))

    def logits(self, outputs: Any) -> Tensor:
        """``(N, K)``, whatever the form of the outputs."""
        flat = first(outputs).flatten(1)
        return logits_of(flat) if self.probabilities else flat

    def loss(self, outputs: Any, target: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(outputs), target)

    def scores(self, outputs: Any, target: Tensor) -> Tensor:
        """1 where the largest output is the label, else 0."""
        return (first(outputs).flatten(1).argmax(1) == target).float()

    def training_loss(self, spec: LossSpec) -> Loss:
        smoothing, gamma = spec.label_smoothing, spec.focal_gamma
        if spec.loss == "focal":
            return lambda outputs, labels: focal(self.logits(outputs), labels, gamma=gamma, smoothing=smoothing)
        return lambda outputs, labels: F.cross_entropy(self.logits(outputs), labels, label_smoothing=smoothing)

    def plain(self, outputs: Any) -> Tensor:
        return self.logits(outputs)

    def distil(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        return softened_divergence(student, teacher, temperature)

    def agreement(self, outputs: Any, reference: Any) -> Tensor:
        """1 where both say the same class, else 0."""
        return (first(outputs).flatten(1).argmax(1) == first(reference).flatten(1).argmax(1)).float()

    # --- network and data ----------------------------------------------------------------------------------------

    def check(self, network: Network, data: Problem) -> None:
        count = classes_of(network)
        if count == 1:
            raise DataError(
                f"{data.name}: the model has one output per image; for two classes told by one logit choose "
                "task = binary"
            )
        largest = max(int(_labels(split, data.name).max()) for split in (data.train, data.validation))
        wanted = max(len(data.classes), 1 + largest)
        if count < wanted:
            alone = f" (class {count} occurs among the test images alone)" if largest < count else ""
            raise DataError(f"{data.name}: {wanted} classes, but the model has only {count} outputs{alone}")

    def guess(self, data: Problem, samples: Samples) -> Guess | None:
        if not len(samples):
            return None
        labels = _labels(samples, data.name)
        counts = torch.bincount(labels)
        share, label = float(counts.max()) / len(labels), int(counts.argmax())
        return Guess(share, f"answering {_name(data, label)} always", math.sqrt(share * (1 - share) / len(labels)))

    def suspicion(self, outputs: Any, target: Tensor, data: Problem) -> str:
        """Answers that fit another order of the classes."""
        answers = first(outputs).flatten(1).argmax(1).cpu()
        other = relabelling(answers, target.cpu())
        if other is None:
            return ""
        wrong = [f"its output {a} is {_name(data, b)}" for a, b in other.items() if a != b]
        return (
            f"the network's classes are in another order: {', '.join(wrong[:3])} in these data; give the labels in the "
            "network's order"
        )


def classes_of(network: Network) -> int:
    """How many classes a classifier tells apart.

    Raises ``CaptureError`` where the answer is no row of scores: then there are no classes to speak of.
    """
    shape = only_shape(network, "classification")
    if not shape or math.prod(shape) != shape[0]:
        said = f"one answer has the sizes {shape}" if shape else "one answer is a single number without dimensions"
        raise CaptureError(f"{said}; a classifier answers with a row of scores, (batch, classes)")
    return shape[0]


def focal(logits: Tensor, labels: Tensor, *, gamma: float, smoothing: float = 0.0) -> Tensor:
    """Cross entropy per sample, weighted by (1 − p_t)^γ; γ = 0 is cross entropy."""
    entropy = F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    log_true = F.log_softmax(logits, dim=1).gather(1, labels[:, None]).squeeze(1)
    # 1 − p_t through expm1, kept away from 0 where the derivative of x^γ is infinite for γ < 1
    miss = (-torch.expm1(log_true)).clamp_min(torch.finfo(logits.dtype).eps)
    return (miss.pow(gamma) * entropy).mean()


def softened_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² · KL between softened logits ``(N, K)``, mean over the batch."""
    soft_student = F.log_softmax(student / temperature, dim=1)
    soft_teacher = F.log_softmax(teacher / temperature, dim=1)
    divergence = F.kl_div(soft_student, soft_teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2


def relabelling(answers: Tensor, labels: Tensor) -> dict[int, int] | None:
    """Output → label, one to one, where that puts many more answers right than taking outputs for labels does."""
    size = int(max(answers.max(), labels.max())) + 1
    table = torch.bincount(answers * size + labels, minlength=size * size).view(size, size)
    given = [answer for answer in range(size) if table[answer].any()]
    found = {answer: int(table[answer].argmax()) for answer in given}
    if len(set(found.values())) < len(found) or all(answer == label for answer, label in found.items()):
        return None
    right = (torch.tensor([found[answer] for answer in answers.tolist()]) == labels).float()
    plain = (answers == labels).float()
    most_frequent = float(torch.bincount(labels).max()) / len(labels)
    gained = float((right - plain).mean())
    good = float(right.mean()) > most_frequent
    return found if good and gained >= _RELABELLED and evidently_better(right, plain) else None


def _labels(samples: Samples, name: str) -> Tensor:
    labels = targets_of(samples)
    if labels is None:
        raise DataError(
            f"{name}: nothing says what is right for these samples, and classification needs a class for each (images: "
            'a folder per class); without labels, the task "agreement" holds the network to its own answers'
        )
    if not isinstance(labels, Tensor) or labels.ndim != 1 or labels.is_floating_point():
        raise DataError(
            f"{name}: classification is for one class index per sample, a whole number, and the targets are "
            f"{value_in_words(labels)}; name another task: binary, multi-label, segmentation, regression, detection, "
            "agreement (no labels)…"
        )
    return labels


def _name(data: Problem, label: int) -> str:
    return repr(data.classes[label]) if label < len(data.classes) else f"class {label}"
