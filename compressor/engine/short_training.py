"""What comes back in a short training: tells plans that ruin a network from those that training mends.

    share lost = log(loss after it / loss of the baseline) / log(loss of constant answers / loss of the baseline)

0 where the network answers as well as the baseline, 1 where it knows nothing of its inputs. Untrained, a network whose
weights have one bit loses as much as one without its layers; after forty steps they are far apart.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle, islice

import torch
from torch import Tensor

from compressor.evidence import Batch, Evidence
from compressor.graph.nested import map_tensors, rows, samples
from compressor.graph.network import Network
from compressor.train.spec import TrainingSpec

STEPS, BATCH, RATE = 40, 64, 3e-3
"""Of Adam, whose step does not depend on how the task scales its loss; it falls evenly to none, so that the last steps
are not left to chance."""
HELD = 8
"""Batches that are measured on and not trained on; a quarter where there are few."""
SAMPLES = (HELD + STEPS) * BATCH
"""So many that none is trained on twice: small networks learn a few hundred by heart as well as large ones."""
SHARE = 0.02
"""What of a plan's own training it may be at most; it is left out where that is not enough."""
MOST_VALUES = 3 * 64 * 64
"""Values of one image. It is left out where images are larger: a look should take seconds."""
_FEWEST = 4
"""Batches without which nothing can be said."""
_FLATTENED = (0.0, 0.25, 0.5, 1.0)
_RUINED = 1.5
"""Where the loss is no longer a number."""


def worth_while(trainings: Iterable[tuple[int, TrainingSpec]], samples: int, values: int) -> bool:
    """Whether it is short beside a plan's trainings, so many times each on so many samples of so many values each."""
    trained = 0
    for times, spec in trainings:
        if spec.function:  # its owner knows how this network is trained, and what that costs
            return False
        trained += times * spec.epochs * (spec.steps_per_epoch * spec.batch or samples)
    return trained * SHARE >= STEPS * BATCH and values <= MOST_VALUES and samples >= _FEWEST * BATCH


@dataclass(frozen=True)
class Practice:
    """What is trained on for some steps, and what a network is held against then."""

    held: Evidence
    rest: Evidence
    least: float
    """Loss of the baseline on what is held."""
    most: float
    """Loss of constant answers."""

    def share_lost(self, network: Network) -> float:
        """Train ``network`` for a few steps in place."""
        _train(network, self.rest)
        loss = self.held.mean_loss(network)
        if not math.isfinite(loss):
            return _RUINED
        return math.log(max(loss, 1e-9) / self.least) / math.log(self.most / self.least)


def practice_of(baseline: Network, evidence: Evidence) -> Practice | None:
    """None where the baseline's answers do not tell it from constant ones.

    ``evidence``: best ``SAMPLES`` samples; of fewer, some are trained on several times.
    """
    pieces = list(_pieces(evidence))
    measured = max(min(HELD, len(pieces) // _FEWEST), 1)
    held, rest = replace(evidence, batches=pieces[:measured]), replace(evidence, batches=pieces[measured:])
    least, most = held.mean_loss(baseline), _loss_of_constants(baseline, held)
    return Practice(held, rest, least, most) if 0 < least < most < math.inf else None


def _pieces(evidence: Evidence) -> Iterator[Batch]:
    for inputs, target in evidence.batches:
        for start in range(0, samples(inputs), BATCH):
            some = slice(start, start + BATCH)
            yield rows(inputs, some), rows(target, some)


def _train(network: Network, evidence: Evidence) -> None:
    parameters = [parameter for parameter in network.module.parameters() if parameter.requires_grad]
    if not parameters:
        return
    optimizer, task = torch.optim.Adam(parameters, lr=RATE), evidence.task.fitted(network)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=STEPS)
    with evidence.at_work(network) as batches, torch.enable_grad():
        network.train()
        for inputs, target in islice(cycle(list(batches)), STEPS):
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(task.loss(network(inputs), target))
            optimizer.step()
            falling.step()
    optimizer.zero_grad(set_to_none=True)
    network.eval()


def _loss_of_constants(baseline: Network, evidence: Evidence) -> float:
    """Mean loss of the best among constant answers: the baseline's mean one, and flatter ones (a network that is sure
    of one class loses more than one that is sure of none)."""
    baseline.eval()
    totals = dict.fromkeys(_FLATTENED, 0.0)
    with evidence.at_work(baseline) as batches, torch.inference_mode():
        for inputs, target in batches:
            outputs = baseline(inputs)
            for factor in _FLATTENED:
                constant = map_tensors(functools.partial(_constant, factor), outputs)
                totals[factor] += float(evidence.task.loss(constant, target)) * samples(inputs)
    return min(totals.values()) / max(evidence.count, 1)


def _constant(factor: float, answers: Tensor) -> Tensor:
    if not answers.is_floating_point():
        return answers
    return (factor * answers.mean(0, keepdim=True)).expand_as(answers)
