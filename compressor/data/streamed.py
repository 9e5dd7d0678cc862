"""A split of which nothing is held: its samples are read, by worker processes, whenever they are wanted."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from compressor.data.blocks import BLOCK
from compressor.data.reading import BatchReader, Failed, checked_batch, repeatable
from compressor.data.split import BatchInputs, Pair, Split, Target
from compressor.errors import DataError
from compressor.graph import nested
from compressor.graph.leaf import Shape
from compressor.processes import FORKS


class StreamedSplit(Split):
    """Samples of a map-style dataset; ``rows`` says which of them are meant, None all of them as they are.

    ``known``: the targets of all samples of the dataset, where they need not be read.
    """

    def __init__(
        self,
        reader: BatchReader,
        *,
        rows: Tensor | None = None,
        known: Target = None,
        workers: int = 0,
        options: dict[str, Any] | None = None,
    ) -> None:
        self._reader = reader
        self._rows = torch.arange(len(reader.samples)) if rows is None else rows
        self._known = known
        self._workers = workers
        self._options = options or {}
        if not len(self._rows):
            raise DataError(f"{reader.where}: no samples")
        self._example = self._read(self._rows[:1])[0]

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return tuple(tuple(tensor.shape[1:]) for tensor in nested.tensors(self._example))

    @property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        return tuple(tensor.dtype for tensor in nested.tensors(self._example))

    def fetch(self, indices: Tensor) -> Pair:
        rows = self._rows[indices]
        return self._read(rows) if len(rows) else (nested.map_tensors(lambda part: part[:0], self._example), None)

    def targets(self, indices: Tensor | None = None) -> Target:
        if self._known is None:
            return super().targets(indices)
        return nested.rows(self._known, self._rows if indices is None else self._rows[indices])

    def batches(self, size: int, order: Tensor | None = None, seed: int = 0) -> Iterator[Pair]:
        parts = torch.split(self._rows if order is None else self._rows[order], size)
        if self._workers and len(parts) > 1:
            yield from map(self._completed, self._by_workers(parts, seed), parts)
            return
        for number, rows in enumerate(parts):
            if len(rows):
                yield self._read(rows, seed + number)

    def take(self, indices: Tensor) -> StreamedSplit:
        taken = object.__new__(type(self))
        taken.__dict__.update(self.__dict__, _rows=self._rows[indices])
        return taken

    def first(self, count: int) -> StreamedSplit:
        return self.take(torch.arange(min(count, len(self))))

    def shares_with(self, other: Split) -> int:
        """How many samples of the other split are, by their place in the same dataset, samples of this one too."""
        if not isinstance(other, StreamedSplit) or other._reader.samples is not self._reader.samples:
            return 0
        return int(torch.isin(other._rows, self._rows).sum())

    def _read(self, rows: Tensor, seed: int = 0) -> Pair:
        with repeatable(seed):
            return self._completed(self._reader.read(rows.tolist()), rows)

    def _completed(self, batch: Pair | Failed, rows: Tensor) -> Pair:
        inputs, target = checked_batch(batch)
        return self._alike(inputs), target if self._known is None else nested.rows(self._known, rows)

    def _alike(self, inputs: BatchInputs) -> BatchInputs:
        """Raises ``DataError`` where samples have not the shape of the first one."""
        wanted = [tuple(part.shape[1:]) for part in nested.tensors(getattr(self, "_example", inputs))]
        found = [tuple(part.shape[1:]) for part in nested.tensors(inputs)]
        if found != wanted:
            raise DataError(f"{self._reader.where}: samples of {found} come behind samples of {wanted}")
        return inputs

    def _by_workers(self, parts: tuple[Tensor, ...], seed: int) -> Iterator[Pair | Failed]:
        """One batch after the other, read ahead by processes that end with this iterator."""
        small = max(map(len, parts)) * self.sample_bytes <= BLOCK
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # more processes than cores: whoever asked for them knows
            loader: Any = DataLoader(
                _Batches(self._reader),
                batch_size=None,
                sampler=[part.tolist() for part in parts],
                num_workers=min(self._workers, len(parts)),
                prefetch_factor=2 if small else 1,
                generator=torch.Generator().manual_seed(seed),
                multiprocessing_context="fork" if FORKS else None,
                collate_fn=_as_it_is,
                **self._options,
            )
        try:
            yield from loader
        except RuntimeError as error:
            raise DataError(f"{self._reader.where}: {_of_workers(error)}") from error


class _Batches(Dataset[Any]):
    """Whole batches as the samples of a dataset, so that a worker's failure is told like any other."""

    def __init__(self, reader: BatchReader) -> None:
        self._reader = reader

    def __getitem__(self, rows: Any) -> Pair | Failed:
        return self._reader.read(rows)


def _as_it_is(batch: Any) -> Any:
    return batch


def _of_workers(error: RuntimeError) -> str:
    text = " ".join(str(error).split())
    memory = "; /dev/shm may be full: data.workers = 0 reads without workers" if "bus error" in text.lower() else ""
    return f"a process that reads samples ended ({text[:200]}){memory}"
