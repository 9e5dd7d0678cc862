"""Whether the parts of a training go together: told before a run begins, and not by every one of its trials."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from compressor.data.dataset import Data
from compressor.errors import InputError
from compressor.foreign import blaming
from compressor.graph.nested import map_tensors, samples, value_in_words
from compressor.graph.network import Network
from compressor.imported import import_function
from compressor.task.task import MeanOfScores, Task
from compressor.train.fit import first_step
from compressor.train.spec import TrainingSpec

_SAMPLES = 4


def try_task(network: Network, data: Data) -> None:
    """Ask the task for loss and metric of the network's answers to a few samples.

    Raises ``InputError``, one line, where it fails, or gives something else than a task does.
    """
    task, whose = data.task.fitted(network), f"task {type(data.task).__name__}"
    own = network.fork().eval()
    inputs, target = next(data.train.first(_SAMPLES).batches(_SAMPLES))
    outputs = own(data.normalised(inputs))
    with blaming(whose, type(data.task).__module__):
        _check_loss(task.loss(outputs, target), whose)
        _check_metric(task, map_tensors(Tensor.detach, outputs), target, samples(inputs), whose)


def _check_loss(loss: Any, whose: str) -> None:
    if not isinstance(loss, Tensor) or loss.ndim:
        raise InputError(f"{whose}: loss() gave {value_in_words(loss)}, and must give a scalar, the mean over a batch")
    if not loss.requires_grad:
        raise InputError(f"{whose}: what loss() gave cannot be differentiated (detach, numpy or argmax lie on the way)")


def _check_metric(task: Task, outputs: Any, target: Any, count: int, whose: str) -> None:
    meter = task.meter()
    if isinstance(meter, MeanOfScores):
        scores = task.scores(outputs, target)
        if not isinstance(scores, Tensor) or scores.shape != (count,):
            raise InputError(
                f"{whose}: scores() gave {value_in_words(scores)}, and must give one per sample ({count},)"
            )
    meter.update(outputs, target)
    float(meter.value())


def rehearse(network: Network, data: Data, specs: Iterable[TrainingSpec]) -> None:
    """Take the first step of every training, on a few samples and a copy of the network, which is its own teacher.

    Raises ``InputError`` or ``DataError`` where one asks for what the task, the data or the network do not have, or
    names a function that is not there or fails.
    """
    few = replace(data, train=data.train.first(_SAMPLES))
    for spec in dict.fromkeys(specs):
        if spec.function:
            import_function(spec.function, "training.function")
        elif spec.epochs:
            with torch.random.fork_rng(devices=[]):
                first_step(network.fork(), few, replace(spec, batch=min(spec.batch, _SAMPLES)), network)
