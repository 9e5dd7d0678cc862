"""A first look at the network's answers, before anything is searched: is it trained for these data at all?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from compressor.data.dataset import Data
from compressor.errors import DataError
from compressor.graph.device import in_fork
from compressor.graph.nested import joined
from compressor.graph.network import Network
from compressor.task import Guess, Task
from compressor.task.paired import no_better
from compressor.train.evaluate import answers

LOOKED_AT = 2000
"""Validation samples that are looked at; the baseline is scored on all of them later."""
_FEW = 100


@dataclass(frozen=True)
class Glance:
    """What the network was found to do on some validation samples."""

    value: float
    """The task's metric."""
    guess: Guess | None
    """The best that needs no look at the input, on the same samples."""
    suspicion: str
    """What the answers look as if they suffered from; empty where nothing is odd."""
    count: int
    error: float | None = None
    """Standard error of ``value`` over all validation samples, where it was asked for and can be told."""


def glance(network: Network, data: Data, *, error: bool = False) -> Glance:
    """How the network answers up to ``LOOKED_AT`` validation samples, always the same ones."""
    return in_fork(lambda: _glance(network, data, error))


def _glance(network: Network, data: Data, error: bool) -> Glance:
    part = data.validation.some(LOOKED_AT)
    task = data.task.fitted(network)
    meter = task.meter()
    kept = []
    for outputs, target in answers(network, data, part.batches(128)):
        meter.update(outputs, target)
        if type(task).suspicion is not Task.suspicion:  # else nothing is kept: answers may be large
            kept.append((outputs, target))
    suspicion = ""
    if kept:
        outputs, target = (joined(parts) for parts in zip(*kept, strict=True))
        suspicion = task.suspicion(outputs, target, data)
    told = meter.error() if error else None
    whole = None if told is None else told * math.sqrt(len(part) / max(len(data.validation), 1))
    return Glance(meter.value(), task.guess(data, part), suspicion, len(part), whole)


def refuse_untrained(seen: Glance, data: Data, *, weights: str = "its weights") -> None:
    """Raises ``DataError`` where the answers are no better than a guess, or look systematically wrong.

    ``weights``: what to look at there, for people.
    """
    metric = data.task.metric
    refuse_suspicious(seen, data)
    if seen.guess is None or not no_better(metric, seen.value, seen.guess):
        return
    few = f"; {seen.count} samples are few to tell by: data.validation takes more" if seen.count < _FEW else ""
    raise DataError(
        f"{data.name}: the network's {metric.name} is {metric.text(seen.value)} on {seen.count:,} validation samples, "
        f"no better than chance ({seen.guess.about}: {metric.text(seen.guess.value)}){few}; see to {weights}, the "
        "order of the classes or outputs and the scale of the inputs (data.normalise); a network that is to be trained "
        "first goes with --allow-untrained"
    )


def refuse_suspicious(seen: Glance, data: Data) -> None:
    """Raises ``DataError`` where the answers look systematically wrong."""
    if seen.suspicion:
        metric = data.task.metric
        raise DataError(f"{data.name}: {seen.suspicion} ({metric.name} {metric.text(seen.value)} as it is)")
