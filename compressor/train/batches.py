"""Training batches: shuffled, moved, augmented and normalised a whole batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from compressor.apart import alive
from compressor.data.dataset import Data
from compressor.data.held import HeldSplit
from compressor.data.scale import unit_scale
from compressor.data.split import BatchInputs, Pair, Split, Target
from compressor.errors import DataError
from compressor.graph import nested
from compressor.graph.device import room_on
from compressor.train.changes import changed_batch, refuse_misleading, transform_of
from compressor.train.spec import Augmentation

T = TypeVar("T")
_LARGEST_ON_DEVICE = 8 << 30
"""Bytes of training samples kept on an accelerator at most; a larger set is moved batch by batch."""
_PASS = 1_000_003
"""Seeds of passes lie so far apart that those of two trainings do not meet."""


@dataclass(frozen=True)
class TrainingBatch:
    """``inputs`` as the network expects them, their target, and which training samples they are."""

    inputs: BatchInputs
    target: Target
    indices: Tensor | None
    """None where samples cannot be told apart: in a loader of the user's own."""

    def __len__(self) -> int:
        return nested.count(self.inputs) or 0


class Batches:
    """The training split of a set as an endless stream of batches, reshuffled after each pass."""

    def __init__(
        self,
        data: Data,
        batch: int,
        augmentation: Augmentation,
        seed: int,
        device: torch.device,
        transform: str = "",
    ) -> None:
        self._data = data
        self._batch = batch
        self._augmentation = augmentation
        self._device = device
        self._seed = seed
        self._order = torch.Generator().manual_seed(seed)
        self._changes = torch.Generator(device).manual_seed(seed)
        self._train = on_accelerator(data.train, device)
        self._size = batch if data.train.indexed else _own_size(data.train, batch)
        """Samples of a batch, as a rule."""
        self._transform = transform_of(transform) if transform else None
        self._pass, self._taken = 0, 0
        """The number of this pass, and how many batches of it have been taken."""
        self._before = self._order.get_state()
        """What the order of this pass was drawn from."""
        if augmentation != Augmentation():
            refuse_misleading(data, augmentation)
        if self.per_pass == 0:
            raise DataError(f"{data.name}: {len(data.train)} training samples are too few for batches of {batch}")

    @property
    def per_pass(self) -> int:
        """Batches in one pass. A last batch of one sample is left out: batch statistics need two."""
        count, rest = divmod(len(self._train), self._size)
        return count + (1 if rest > 1 else 0)

    def __iter__(self) -> Iterator[TrainingBatch]:
        while True:
            self._before = self._order.get_state()
            for (inputs, target), indices in self._one_pass(self._seed * _PASS + self._pass, self._taken):
                self._taken += 1
                yield self._made(inputs, target, indices)
            self._pass, self._taken = self._pass + 1, 0

    def state(self) -> dict[str, Any]:
        """From where the batches to come follow, as plain data."""
        return {"pass": self._pass, "taken": self._taken, "order": self._before, "changes": self._changes.get_state()}

    def go_on(self, state: dict[str, Any]) -> None:
        """Follow from there: before the first batch is taken."""
        self._pass, self._taken = state["pass"], state["taken"]
        self._order.set_state(state["order"])
        self._changes.set_state(state["changes"])

    def _one_pass(self, seed: int, taken: int) -> Iterator[tuple[Pair, Tensor | None]]:
        """The batches of a pass behind those that were ``taken`` by a training that was cut off."""
        if not self._train.indexed:
            pairs = _of_several(self._train.batches(self._batch, seed=seed), self._batch)
            yield from ((pair, None) for pair in _behind(pairs, taken))
            return
        order = torch.randperm(len(self._train), generator=self._order)
        parts = torch.split(order, self._batch)[: self.per_pass]
        left = parts[taken:] if self._train.held or taken >= len(parts) else parts
        if left:
            batches = zip(self._train.batches(self._batch, torch.cat(left), seed), left, strict=True)
            yield from _behind(batches, taken - (len(parts) - len(left)))

    def _made(self, inputs: BatchInputs, target: Target, indices: Tensor | None) -> TrainingBatch:
        inputs, target = unit_scale(nested.to_device(inputs, self._device)), nested.to_device(target, self._device)
        if self._augmentation != Augmentation():
            inputs, target = changed_batch(inputs, target, self._augmentation, self._changes)
        if self._transform is not None:
            inputs, target = self._transform(inputs, target)
        return TrainingBatch(self._data.normalised(inputs), target, indices)


def _behind(batches: Iterable[T], taken: int) -> Iterator[T]:
    """Those after the first ``taken``, which are read all the same: what a user's dataset does at random follows."""
    for number, batch in enumerate(batches):
        if number >= taken:
            yield batch
        else:
            alive()


def _own_size(split: Split, wanted: int) -> int:
    """How many samples a loader gives at a time, whatever is wanted; those that come one by one are put together."""
    for inputs, _ in split.batches(wanted):
        return nested.samples(inputs) if nested.samples(inputs) > 1 else wanted
    return wanted


def _of_several(pairs: Iterable[Pair], size: int) -> Iterator[Pair]:
    """A loader's batches as they are, but that samples which come one by one are put together, ``size`` at a time; one
    that is left alone is left out. Raises ``DataError`` where there is no more than one.
    """
    alone: list[Pair] = []
    found = False
    for pair in pairs:
        if nested.samples(pair[0]) == 1 and size > 1:
            alone.append(pair)
        else:
            yield pair
            found = True
        if len(alone) == size:
            yield nested.joined(alone)
            alone, found = [], True
    if len(alone) > 1:
        yield nested.joined(alone)
    elif not found:
        raise DataError("the training split has but one sample")


def on_accelerator(split: Split, device: torch.device) -> Split:
    """The same samples on an accelerator where they fit; as they are where they are read batch by batch."""
    if device.type == "cpu" or not isinstance(split, HeldSplit) or split.nbytes > room_on(device, _LARGEST_ON_DEVICE):
        return split
    stored = [
        torch.empty((len(split), *shape), dtype=dtype, device=device)
        for shape, dtype in zip(split.shapes, split.dtypes, strict=True)
    ]
    start = 0
    for inputs, _ in split.batches(1024):
        for whole, part in zip(stored, nested.tensors(inputs), strict=True):
            whole[start : start + len(part)] = part
        start += nested.count(inputs) or 0
    target = nested.to_device(split.targets(), device)
    return HeldSplit(tuple(stored) if len(stored) > 1 else stored[0], target)
