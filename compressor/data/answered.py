"""Splits whose targets are a network's own answers: what there is to learn where nobody has labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from compressor.data.dataset import Data
from compressor.data.split import BatchInputs, Pair, Split, Target
from compressor.graph import nested
from compressor.graph.device import at_work, in_fork
from compressor.graph.leaf import Shape
from compressor.graph.network import Network

_MOST = 1 << 26
"""Numbers of answers that are kept rather than asked for again: 256 MiB."""
_BATCH = 128

Answerer = Callable[[BatchInputs], Target]


class AnsweredSplit(Split):
    """Another split's inputs, with what ``answer`` says of them as targets, asked for whenever they are read."""

    def __init__(self, split: Split, answer: Answerer) -> None:
        self._split, self._answer = split, answer
        self.indexed, self.held = split.indexed, split.held

    def __len__(self) -> int:
        return len(self._split)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return self._split.shapes

    @property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        return self._split.dtypes

    def fetch(self, indices: Tensor) -> Pair:
        inputs = self._split.read(indices)
        return inputs, self._answer(inputs)

    def read(self, indices: Tensor) -> BatchInputs:
        return self._split.read(indices)

    def batches(self, size: int, order: Tensor | None = None, seed: int = 0) -> Iterator[Pair]:
        for inputs, _ in self._split.batches(size, order, seed):
            yield inputs, self._answer(inputs)

    def take(self, indices: Tensor) -> Split:
        return AnsweredSplit(self._split.take(indices), self._answer)

    def first(self, count: int) -> Split:
        return AnsweredSplit(self._split.first(count), self._answer)


class KeptAnswers(AnsweredSplit):
    """The same with all answers asked for once."""

    def __init__(self, split: Split, answers: Target) -> None:
        super().__init__(split, lambda inputs: None)
        self._answers = answers

    def fetch(self, indices: Tensor) -> Pair:
        return self._split.read(indices), nested.rows(self._answers, indices)

    def batches(self, size: int, order: Tensor | None = None, seed: int = 0) -> Iterator[Pair]:
        start = 0
        for inputs, _ in self._split.batches(size, order, seed):
            end = start + nested.samples(inputs)
            chosen = slice(start, end) if order is None else order[start:end]
            yield inputs, nested.rows(self._answers, chosen)
            start = end

    def targets(self, indices: Tensor | None = None) -> Target:
        return self._answers if indices is None else nested.rows(self._answers, indices)

    def take(self, indices: Tensor) -> Split:
        return KeptAnswers(self._split.take(indices), nested.rows(self._answers, indices))

    def first(self, count: int) -> Split:
        return KeptAnswers(self._split.first(count), nested.rows(self._answers, slice(count)))


def answered(data: Data, network: Network) -> Data:
    """``data`` with the answers of ``network`` as targets, where its task wants them; else as it is.

    Answers of few numbers are asked for once and kept, those of many whenever a batch is read. The network is left as
    it was.
    """
    if not data.task.own_answers:
        return data
    teacher = network.fork().eval()

    def answer(inputs: BatchInputs) -> Target:
        with at_work(teacher) as device, torch.inference_mode():
            said = teacher(data.normalised(nested.to_device(inputs, device)))
        return nested.map_tensors(lambda tensor: tensor.clone().cpu(), nested.without_lists(said))

    few = sum(math.prod(spec.shape) for spec in network.signature.outputs)

    def told(split: Split) -> Split:
        if not split.held or len(split) * few > _MOST:
            return AnsweredSplit(split, answer)
        return KeptAnswers(split, in_fork(lambda: asked(split)))

    def asked(split: Split) -> Target:
        with at_work(teacher):
            return nested.joined([answer(inputs) for inputs, _ in split.batches(_BATCH)])

    test = data.test
    return replace(data, train=told(data.train), validation=told(data.validation), test=lambda: told(test()))
