"""The contract of a task: what is wanted of a network.

    @dataclass(frozen=True)
    class Depth(Task):
        '''Mean absolute error of a depth map.'''

        metric = Metric("MAE", "lower", "m")

        def loss(self, outputs, target):
            return functional.l1_loss(outputs, target)

        def scores(self, outputs, target):
            return -(outputs - target).abs().flatten(1).mean(1)

``outputs`` is what the network returns for a batch, in its owner's form (a tensor, a tuple, a dict); ``target`` is what
the data give beside the inputs. Everything else follows from these two: training, the metric in torch and in ONNX
Runtime with its standard error, limits, sensitivities, and the choice of a normalisation.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from compressor.errors import InputError
from compressor.graph.nested import Nested, samples, tensors
from compressor.task.metric import Metric

if TYPE_CHECKING:
    from compressor.graph.network import Network

Outputs = Any
Target = Any
"""A tensor, a tuple or dictionary of tensors, a list with one entry per sample, or None."""
Loss = Callable[[Outputs, Target], Tensor]
"""``(outputs, target) -> scalar``, the mean over the samples of a batch."""


class Samples(Protocol):
    """What a task may ask of a split."""

    @property
    def held(self) -> bool:
        """Whether reading them costs next to nothing."""
        ...

    def __len__(self) -> int: ...

    def targets(self) -> Target:
        """The targets of all of them, as one batch."""
        ...

    def first(self, count: int) -> Samples:
        """The first of them."""
        ...


MANY = 4096
"""Samples whose targets are looked at where reading them costs something."""


def targets_of(samples: Samples) -> Target:
    """The targets of all samples; of the first ones, where reading costs something."""
    return (samples if samples.held else samples.first(MANY)).targets()


class Problem(Protocol):
    """What a task may ask of a data set."""

    @property
    def name(self) -> str: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def train(self) -> Samples: ...
    @property
    def validation(self) -> Samples: ...


class LossSpec(Protocol):
    """What a recipe's ``[training]`` table says of the loss."""

    @property
    def loss(self) -> str: ...
    @property
    def focal_gamma(self) -> float: ...
    @property
    def label_smoothing(self) -> float: ...


class Meter(Protocol):
    """A metric over many batches."""

    def update(self, outputs: Outputs, target: Target) -> None:
        """Take one batch into account."""
        ...

    def value(self) -> float:
        """The metric over everything so far; NaN where there was nothing."""
        ...

    def error(self) -> float | None:
        """Standard error of ``value``; None where it cannot be told."""
        ...


@runtime_checkable
class DetailedMeter(Meter, Protocol):
    """One whose value is made of several, which are shown beside it."""

    def parts(self) -> Mapping[str, float]:
        """By name."""
        ...


def detail_of(meter: Meter) -> dict[str, float]:
    """The values that a meter's value is made of, where there are several."""
    parts = dict(meter.parts()) if isinstance(meter, DetailedMeter) else {}
    return parts if len(parts) > 1 else {}


@dataclass(frozen=True)
class Guess:
    """The best that can be had without looking at the input."""

    value: float
    """Of the metric."""
    about: str
    """For people: ``answering 'cat' always``."""
    error: float = 0.0
    """Standard error of ``value`` over as many samples as were looked at."""


class Task(ABC):
    """What is wanted of a network. Subclasses are frozen dataclasses; their fields are their options in a recipe."""

    metric: Metric
    metered_in_training: ClassVar[bool] = True
    """Whether the metric is also taken of training batches, for the history; not where that costs too much."""

    own_answers: ClassVar[bool] = False
    """Whether the targets are the baseline's own answers, and not what the data give."""

    numbers: ClassVar[bool] = False
    """Whether whole numbers among the targets are numbers, and no class indices."""

    @abstractmethod
    def loss(self, outputs: Outputs, target: Target) -> Tensor:
        """What training makes small: a scalar, the mean over the samples of a batch, differentiable."""

    @abstractmethod
    def scores(self, outputs: Outputs, target: Target) -> Tensor:
        """How good the answer to each sample is, ``(N,)``: more is better.

        Compares two networks, or two ways to prepare the input, on the same samples. Where ``meter`` is left as it is,
        the metric is the mean of these (of their opposites, where less of it is better).
        """

    # --- what most tasks leave as it is --------------------------------------------------------------------------

    def usual_drop(self, before: float) -> float:
        """What the metric may lose where nobody says: what is little of it."""
        return self.metric.point(before)

    def meter(self) -> Meter:
        """A new, empty meter of ``metric``."""
        if self.metric.direction == "higher":
            return MeanOfScores(self.scores)
        return MeanOfScores(lambda outputs, target: -self.scores(outputs, target))

    def fitted(self, network: Network) -> Self:
        """The same task, knowing what form this network's outputs have (probabilities or logits, for example)."""
        return self

    def check(self, network: Network, data: Problem) -> None:
        """One line (``DataError``) where outputs and targets do not go together."""
        return

    def guess(self, data: Problem, samples: Samples) -> Guess | None:
        """The best metric that needs no look at the input, on these samples; None where that is not known."""
        return None

    def suspicion(self, outputs: Outputs, target: Target, data: Problem) -> str:
        """What answers that look systematically wrong may come from, in plain words; empty where nothing is odd."""
        return ""

    def training_loss(self, spec: LossSpec) -> Loss:
        """The loss that ``spec`` names. Raises ``InputError`` where the task has no such loss."""
        if spec.loss != "task":
            raise InputError(f"training.loss: this task has its own loss, and no {spec.loss}; leave it out")
        if spec.label_smoothing:
            raise InputError("training.label_smoothing: this task has no labels to smooth; leave it out")
        return self.loss

    def plain(self, outputs: Outputs) -> Outputs:
        """The outputs in the form that ``distil`` compares, whatever this network closes with."""
        return outputs

    def distil(self, student: Outputs, teacher: Outputs, temperature: float) -> Tensor | None:
        """What a student's answers lose against a teacher's, both ``plain``: a scalar; None where nobody says."""
        return None

    def agreement(self, outputs: Outputs, reference: Outputs) -> Tensor:
        """How far two networks' answers to each sample agree, ``(N,)``, 1 where they are the same.

        By default 1 − |a − b| / |b| of the output that agrees least, and at least 0.
        """
        return relative_agreement(outputs, reference)


class MeanOfScores:
    """The mean over samples of their scores, with its standard error."""

    def __init__(self, scores: Callable[[Outputs, Target], Tensor]) -> None:
        self._scores = scores
        self._count = 0
        self._sum = torch.zeros((), dtype=torch.float64)
        self._squares = torch.zeros((), dtype=torch.float64)

    def update(self, outputs: Outputs, target: Target) -> None:
        scores = self._scores(outputs, target).detach().double()
        self._count += len(scores)
        self._sum = self._sum.to(scores.device) + scores.sum()
        self._squares = self._squares.to(scores.device) + scores.square().sum()

    def value(self) -> float:
        return float(self._sum) / self._count if self._count else math.nan

    def error(self) -> float | None:
        if self._count < 2:
            return None
        mean = float(self._sum) / self._count
        variance = max(float(self._squares) / self._count - mean * mean, 0.0)
        return math.sqrt(variance / self._count)


def relative_agreement(outputs: Nested, reference: Nested) -> Tensor:
    """1 − |a − b| / |b| per sample of the output that agrees least, within 0…1."""
    pairs = zip(tensors(outputs), tensors(reference), strict=True)
    return torch.stack([_relative(ours.float(), theirs.float()) for ours, theirs in pairs]).amin(0)


def _relative(ours: Tensor, theirs: Tensor) -> Tensor:
    gap, size = ((part.reshape(len(part), -1).norm(dim=1)) for part in (ours - theirs, theirs))
    near: Tensor = 1.0 - gap / size.clamp_min(1e-12)
    return near.clamp(0.0, 1.0)


def batch_size(target: Target, outputs: Outputs) -> int:
    """Samples of a batch, told by its target or, where there is none, by the outputs."""
    return samples(outputs if target is None else target)
