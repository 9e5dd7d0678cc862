"""What comes back in a short training: tells plans that ruin a network from those that training mends.

    share lost = log(loss after it / loss of the baseline) / log(loss of constant answers / loss of the baseline)

0 where the network answers as well as the baseline, 1 where it knows nothing of its inputs. Untrained, a network whose
weights have one bit loses as much as one without its layers; after forty steps they are far apart.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import cycle, islice

import torch
from torch import Tensor

from compressor.evidence import Batch, Evidence
from compressor.graph.nested import map_tensors, rows, samples
from compressor.graph.network import Network
from compressor.train.spec import TrainingSpec

STEPS, BATCH, RATE = 40, 64, 1e-3
"""Of Adam, whose step does not depend on how the task scales its loss."""
SHARE = 0.02
"""What of a plan's own training it may be at most; it is left out where that is not enough."""
MOST_VALUES = 1 << 24
"""Values of all images that are trained on: enough for 64×64×3. It is left out where images are larger: a look should
take seconds."""
_HELD = 2
"""Batches that are measured on and not trained on."""
_FLATTENED = (0.0, 0.25, 0.5, 1.0)
_RUINED = 1.5
"""Where the loss is no longer a number."""


def worth_while(trainings: Iterable[tuple[int, TrainingSpec]], samples: int, evidence: Evidence) -> bool:
    """Whether it is short beside a plan's trainings, so many times each on so many samples, and inputs are small."""
    trained = 0
    for times, spec in trainings:
        if spec.function:  # its owner knows how this network is trained, and what that costs
            return False
        trained += times * spec.epochs * (spec.steps_per_epoch * spec.batch or samples)
    values = evidence.values_of_one * STEPS * BATCH
    return trained * SHARE >= STEPS * BATCH and values <= MOST_VALUES and evidence.count > _HELD * BATCH


def share_lost(network: Network, baseline: Network, evidence: Evidence) -> float | None:
    """Train ``network`` for a few steps in place; None where its answers do not tell it from constant ones."""
    pieces = list(_pieces(evidence))
    held, rest = replace(evidence, batches=pieces[:_HELD]), replace(evidence, batches=pieces[_HELD:])
    least, most = held.mean_loss(baseline), _loss_of_constants(baseline, held)
    if not 0 < least < most < math.inf:
        return None
    _train(network, rest)
    loss = held.mean_loss(network)
    return math.log(max(loss, 1e-9) / least) / math.log(most / least) if math.isfinite(loss) else _RUINED


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
    with evidence.at_work(network) as batches, torch.enable_grad():
        network.train()
        for inputs, target in islice(cycle(list(batches)), STEPS):
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(task.loss(network(inputs), target))
            optimizer.step()
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
