"""How long a run will take, before it begins: a few steps of training are timed, the rest is arithmetic."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import torch

from compressor.data.dataset import Data
from compressor.engine.space import PhaseSpec
from compressor.graph.device import finish, in_fork, working_device
from compressor.graph.nested import samples, to_device
from compressor.graph.network import Network
from compressor.recipe.model import Recipe
from compressor.search.arms import outline
from compressor.search.clock import FINALIST, MOST_KEPT
from compressor.train.spec import TrainingSpec

_MEASURED = 0.5
"""Seconds of training that are timed, or one step where that takes longer."""
_SCORING = 1 / 3
"""An image scored, or asked of a teacher, against one trained on: forward alone, not forward and backward."""
_TRIAL = 4.0
"""Seconds a trial takes besides: its file written, checked and timed."""


@dataclass(frozen=True)
class Estimate:
    """Seconds, on this machine as busy as it is now, for networks as large as the baseline."""

    trial: float
    trials: int
    """As many as the recipe asks for, or as the budget allows."""
    run: float
    own_training: bool
    """Training functions of the user's own take part, of which nothing is known."""


def estimate(recipe: Recipe, network: Network, data: Data) -> Estimate:
    """Of the whole run. Takes about a second."""
    pace = seconds_per_sample(network, data, batch=recipe.training.batch, threads=recipe.search.threads)
    carried = list(trainings(recipe.phases, recipe.training))
    trial = _TRIAL + sum(times * _seconds(spec, data, pace) for times, spec in carried)
    search = recipe.search
    jobs = max(min(search.jobs, search.trials or search.jobs, (os.cpu_count() or 1) // search.threads), 1)
    arms = sum(asdict(recipe.controls).values())
    piloted = 0.0
    if recipe.pilot is not None:
        study = outline(recipe, recipe.pilot, data)
        piloted = len(study.arms) * study.samples * pace
    own = any(spec.function for _, spec in carried)
    end = (recipe.measure.finalists + 1) * FINALIST
    if not search.budget:
        return Estimate(trial, search.trials, (search.trials * trial + arms * trial + piloted) / jobs + end, own)
    end = min(end, MOST_KEPT * search.budget)
    fitting = max(int((search.budget - end - piloted / jobs) * jobs / trial), 0)
    return Estimate(trial, min(fitting, search.trials or fitting), search.budget, own)


def trainings(phases: Sequence[PhaseSpec], default: TrainingSpec) -> Iterator[tuple[int, TrainingSpec]]:
    """How often every training of a trial is carried out, at most."""
    for phase in phases:
        if phase.phases:
            yield from ((phase.rounds * times, spec) for times, spec in trainings(phase.phases, default))
        else:
            yield phase.rounds, phase.training or default


def _seconds(spec: TrainingSpec, data: Data, pace: float) -> float:
    images = spec.steps_per_epoch * spec.batch or len(data.train)
    taught = spec.distillation.logits > 0 or spec.distillation.features > 0
    teacher = images * _SCORING if taught and not spec.distillation.once else 0.0
    return spec.epochs * pace * (images + teacher + len(data.validation) * _SCORING)


def seconds_per_sample(network: Network, data: Data, *, batch: int, threads: int = 1) -> float:
    """Of one training step, forward and backward, on the device and with the threads of a trial."""
    return in_fork(lambda: _timed(network, data, batch, threads))


def _timed(network: Network, data: Data, batch: int, threads: int) -> float:
    own = network.fork().to(working_device()).eval()  # eval: BatchNorm takes batches of one
    inputs, target = next(data.train.first(batch).batches(batch))
    inputs, target = data.normalised(to_device(inputs, own.device)), to_device(target, own.device)
    task = data.task.fitted(own)
    weights = [parameter for parameter in own.module.parameters() if parameter.requires_grad]
    count, spent = 0, 0.0
    with _threads(threads):
        while spent < _MEASURED and weights:
            started = time.perf_counter()
            torch.autograd.grad(task.loss(own(inputs), target), weights, allow_unused=True)
            finish(own.device)
            took = time.perf_counter() - started
            if count or took > _MEASURED:  # the first step also allocates
                spent += took
            count += 1
    return spent / max(count - 1, 1) / samples(inputs)


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
