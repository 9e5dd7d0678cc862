"""Quality and loss of a network on a split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from compressor.data.dataset import Data, Split
from compressor.errors import DataError
from compressor.graph.device import at_work, in_fork
from compressor.graph.nested import Nested, joined, samples, to_device, without_lists
from compressor.graph.network import Network
from compressor.task.task import detail_of

_BATCH = 128
"""What a core's cache holds of small images; 256 are slower by a tenth to a third."""


@dataclass(frozen=True)
class Score:
    """The task's metric, its mean loss per sample, and the number of samples."""

    quality: float
    loss: float
    count: int
    error: float | None = None
    """Standard error of ``quality``, where it was asked for and can be told."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """What ``quality`` is made of, where it is made of several."""


def evaluate(network: Network, data: Data, split: Split, *, batch: int = _BATCH, error: bool = False) -> Score:
    """The score of ``network`` in eval mode on a split of ``data``.

    ``error``: with the standard error, which some metrics take long for. The network is left in the mode it was in.
    Raises ``DataError`` for an empty split.
    """
    if len(split) == 0:
        raise DataError(f"{data.name}: nothing to evaluate on, the split is empty")
    return in_fork(lambda: _evaluated(network, data, split, batch, error))


def _evaluated(network: Network, data: Data, split: Split, batch: int, error: bool) -> Score:
    was_training = network.module.training
    network.eval()
    task = data.task.fitted(network)
    meter, count = task.meter(), 0
    with at_work(network) as device, torch.inference_mode():
        loss = torch.zeros((), device=device, dtype=torch.float64)
        for inputs, target in split.batches(batch):
            outputs, wanted = network(data.normalised(to_device(inputs, device))), to_device(target, device)
            meter.update(outputs, wanted)
            loss += task.loss(outputs, wanted) * samples(inputs)
            count += samples(inputs)
    network.train(was_training)
    return Score(float(meter.value()), float(loss) / count, count, meter.error() if error else None, detail_of(meter))


def scores(network: Network, data: Data, split: Split, *, batch: int = _BATCH) -> Tensor:
    """How good the network's answer to each sample of the split is, ``(N,)`` on the CPU: more is better."""
    task = data.task.fitted(network)

    def found() -> Tensor:
        with torch.inference_mode():
            said = answers(network, data, split.batches(batch))
            return torch.cat([task.scores(outputs, target).cpu() for outputs, target in said])

    return in_fork(found)


def answers(network: Network, data: Data, batches: Iterable[tuple[Nested, Any]]) -> Iterator[tuple[Nested, Any]]:
    """``(outputs, target)`` for batches of raw inputs of ``data``, the network in eval mode, where it is at work."""
    was_training = network.module.training
    network.eval()
    try:
        with at_work(network) as device:
            for inputs, target in batches:
                with torch.no_grad():
                    yield network(data.normalised(to_device(inputs, device))), to_device(target, device)
    finally:
        network.train(was_training)


def predict(network: Network, data: Data, split: Split | Tensor, *, batch: int = _BATCH) -> Nested:
    """The outputs of the network in eval mode for all samples of a split (or raw inputs), one batch on its device."""
    home = network.device
    batches = (
        ((part, None) for part in torch.split(split, batch)) if isinstance(split, Tensor) else split.batches(batch)
    )
    return joined([without_lists(to_device(outputs, home)) for outputs, _ in answers(network, data, batches)])
