"""What cannot be trained is told before a run begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from small_training import data_of, mlp, weights
from torch import Tensor

from compressor.errors import InputError
from compressor.task import Metric, Task
from compressor.task.regression import Regression
from compressor.train.rehearsal import rehearse, try_task
from compressor.train.spec import Distillation, TrainingSpec

SHAPE = (1, 8, 8)


@dataclass(frozen=True)
class Mine(Task):
    """A task whose parts can be exchanged for broken ones."""

    how_bad: Callable[[Tensor, Tensor], Any] = lambda outputs, target: outputs.square().mean()
    how_good: Callable[[Tensor, Tensor], Any] = lambda outputs, target: -outputs.square().mean(1)
    metric = Metric("error", "lower")

    def loss(self, outputs: Any, target: Any) -> Any:
        return self.how_bad(outputs, target)

    def scores(self, outputs: Any, target: Any) -> Any:
        return self.how_good(outputs, target)


@pytest.mark.parametrize(
    ("task", "complaint"),
    [
        (Mine(lambda outputs, _: outputs["scores"]), r"task Mine: .*Error.*test_rehearsal\.py, line \d+"),
        (Mine(lambda outputs, _: outputs.mean(1)), r"loss\(\) gave \(4,\) of float32, and must give a scalar"),
        (Mine(lambda *_: 0.5), r"loss\(\) gave float"),
        (Mine(lambda outputs, _: outputs.detach().mean()), r"cannot be differentiated"),
        (Mine(how_good=lambda outputs, _: outputs.mean()), r"scores\(\) gave .* and must give one per sample \(4,\)"),
        (Mine(how_good=lambda outputs, _: 1 / 0), r"task Mine: ZeroDivisionError: .*test_rehearsal\.py, line \d+"),
    ],
)
def test_a_task_that_cannot_do_its_work_is_told_in_a_line(task: Task, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as told:
        try_task(mlp(), replace(data_of(8, shape=SHAPE), task=task))
    assert "\n" not in str(told.value)


def test_a_task_that_works_leaves_the_network_as_it_was() -> None:
    network = mlp()
    before = weights(network)
    try_task(network, replace(data_of(8, shape=SHAPE), task=Mine()))
    rehearse(network, data_of(8, shape=SHAPE), [TrainingSpec(distillation=Distillation(logits=1.0)), TrainingSpec()])
    assert all(torch.equal(one, other) for one, other in zip(before, weights(network), strict=True))


def broken(inputs: Tensor, target: Tensor, third: int) -> None:
    """Takes one thing too many."""


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        (TrainingSpec(loss="focal"), r"training\.loss: this task has its own loss, and no focal"),
        (TrainingSpec(label_smoothing=0.1), r"training\.label_smoothing: this task has no labels"),
        (TrainingSpec(function="nowhere_at_all:train"), r"training\.function: nowhere_at_all cannot be imported"),
        (TrainingSpec(transform="test_rehearsal:absent"), r"training\.transform: .*no 'absent'"),
        (TrainingSpec(transform="test_rehearsal:broken"), r"training\.transform: test_rehearsal:broken failed"),
        (TrainingSpec(lr=-1.0), r"training\.lr: -1\.0 is less than 0"),
    ],
)
def test_a_training_that_cannot_begin_is_told_in_a_line(spec: TrainingSpec, complaint: str) -> None:
    data = replace(data_of(8, shape=SHAPE), task=Regression())
    with pytest.raises(InputError, match=complaint):
        rehearse(mlp(), data, [TrainingSpec(epochs=0), spec])
    with pytest.raises(InputError, match=complaint):
        rehearse(mlp(), data, [replace(spec, epochs=0), spec])
