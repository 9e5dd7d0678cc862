"""Accuracy and loss of a network on a split."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from compressor.data.dataset import Data, Split
from compressor.errors import DataError
from compressor.graph.network import Network

_BATCH = 128
"""What a core's cache holds of small images; 256 are slower by a tenth to a third."""


@dataclass(frozen=True)
class Score:
    """Share of right answers (0…1), mean cross entropy per sample (nats), and the number of samples."""

    accuracy: float
    loss: float
    count: int


def evaluate(network: Network, data: Data, split: Split, *, batch: int = _BATCH) -> Score:
    """The score of ``network`` in eval mode on a split of ``data``, on the device the network is on.

    The network is left in the mode it was in. Raises ``DataError`` for an empty split.
    """
    if len(split) == 0:
        raise DataError(f"{data.name}: nothing to evaluate on, the split is empty")
    was_training = network.module.training
    network.eval()
    device = network.device
    right, loss = torch.zeros((), device=device), torch.zeros((), device=device, dtype=torch.float64)
    with torch.inference_mode():
        for images, labels in split.batches(batch):
            logits, wanted = network.logits(data.normalised(images.to(device))), labels.to(device)
            right += (logits.argmax(1) == wanted).sum()
            loss += F.cross_entropy(logits, wanted, reduction="sum")
    network.train(was_training)
    return Score(float(right) / len(split), float(loss) / len(split), len(split))


def predict(network: Network, data: Data, images: Split | Tensor, *, batch: int = _BATCH) -> Tensor:
    """Logits ``(N, classes)`` of the network in eval mode for raw images of ``data``, on the network's device."""
    parts = (part for part, _ in images.batches(batch)) if isinstance(images, Split) else torch.split(images, batch)
    was_training = network.module.training
    network.eval()
    device = network.device
    with torch.no_grad():
        answers = [network.logits(data.normalised(part.to(device))) for part in parts]
    network.train(was_training)
    return torch.cat(answers)
