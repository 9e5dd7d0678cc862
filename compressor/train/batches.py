"""Training batches straight from memory: shuffled, moved, augmented and normalised a whole batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.data.dataset import Data, Split, unit_scale
from compressor.errors import DataError
from compressor.train.augment import augment
from compressor.train.spec import Augmentation

_LARGEST_ON_DEVICE = 8 << 30
"""Bytes of training images kept on an accelerator; a larger set is moved batch by batch."""


@dataclass(frozen=True)
class TrainingBatch:
    """``images`` as the network expects them, their labels, and which training samples they are."""

    images: Tensor
    labels: Tensor
    indices: Tensor


class Batches:
    """The training split of a set as an endless stream of batches, reshuffled after each pass."""

    def __init__(self, data: Data, batch: int, augmentation: Augmentation, seed: int, device: torch.device) -> None:
        self._data = data
        self._batch = batch
        self._augmentation = augmentation
        self._device = device
        self._order = torch.Generator().manual_seed(seed)
        self._changes = torch.Generator(device).manual_seed(seed)
        self._labels = data.train.labels.to(device)
        self._on_device = _moved(data.train, device)
        if self.per_pass == 0:
            raise DataError(f"{data.name}: {len(data.train)} training samples are too few for batches of {batch}")

    @property
    def per_pass(self) -> int:
        """Batches in one pass. A last batch of one sample is left out: batch statistics need two."""
        count, rest = divmod(len(self._data.train), self._batch)
        return count + (1 if rest > 1 else 0)

    def __iter__(self) -> Iterator[TrainingBatch]:
        while True:
            order = torch.randperm(len(self._data.train), generator=self._order)
            for indices in torch.split(order, self._batch)[: self.per_pass]:
                yield self._make(indices)

    def _make(self, indices: Tensor) -> TrainingBatch:
        chosen = indices.to(self._device)
        if self._on_device is None:
            images = unit_scale(self._data.train.read(indices).to(self._device))
        else:
            images = unit_scale(self._on_device[chosen])
        if self._augmentation != Augmentation():
            images = augment(images, self._augmentation, self._changes)
        return TrainingBatch(self._data.standardised(images), self._labels[chosen], indices)


def _moved(split: Split, device: torch.device) -> Tensor | None:
    """All images on an accelerator where they fit; None where they are read batch by batch."""
    if device.type == "cpu" or split.nbytes > _LARGEST_ON_DEVICE:
        return None
    images = torch.empty((len(split), *split.shape), dtype=split.store.dtype, device=device)
    start = 0
    for part, _ in split.batches(1024):
        images[start : start + len(part)] = part
        start += len(part)
    return images
