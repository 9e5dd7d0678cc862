"""A split that can only be gone through, always from its first batch on: a user's loader, or what else can be iterated.

No sample of it can be chosen. What needs a choice takes the first samples, or says that it cannot be had.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NoReturn

import torch
from torch import Tensor

from compressor.data.reading import arranged, repeatable
from compressor.data.split import BatchInputs, Pair, Split
from compressor.errors import CompressorError, DataError
from compressor.graph import nested
from compressor.graph.leaf import Shape
from compressor.imported import reason_of

_MOST: Final = 20_000_000
"""Samples that are counted before a stream is taken for endless."""


class PassSplit(Split):
    """Batches that ``start`` begins anew each time; it is told the size that is wanted, and may give another.

    ``count``: how many samples there are, where that is known. ``limit``: how many are taken, 0 all.
    """

    indexed = False

    def __init__(
        self,
        start: Callable[[int], Iterable[Any]],
        where: str,
        *,
        names: tuple[str, ...] = (),
        count: int | None = None,
        limit: int = 0,
    ) -> None:
        self._start = start
        self._where = where
        self._names = names
        self._count = count
        self._limit = limit
        self._example = self._first_inputs()

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return tuple(tuple(tensor.shape[1:]) for tensor in nested.tensors(self._example))

    @property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        return tuple(tensor.dtype for tensor in nested.tensors(self._example))

    def __len__(self) -> int:
        if self._count is None:
            self._count = self._counted()
        return min(self._count, self._limit) if self._limit else self._count

    def batches(self, size: int, order: Tensor | None = None, seed: int = 0) -> Iterator[Pair]:
        if order is not None:
            self._refuse()
        seen = 0
        for inputs, target in self._arranged(size, seed):
            count = nested.count(inputs) or 0
            if self._limit and seen + count >= self._limit:
                rest = slice(0, self._limit - seen)
                yield nested.rows(inputs, rest), nested.rows(target, rest)
                return
            seen += count
            yield inputs, target
        if not seen:
            raise DataError(
                f"{self._where}: gave nothing when it was gone through again; it must begin anew each time "
                "(give a Dataset, a DataLoader, or a function that makes an iterator)"
            )

    def first(self, count: int) -> PassSplit:
        limited = copy.copy(self)
        limited._limit = min(count, self._limit) if self._limit else count
        return limited

    def fetch(self, indices: Tensor) -> Pair:
        self._refuse()

    def take(self, indices: Tensor) -> Split:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise DataError(
            f"{self._where}: it is read from its first sample to its last, and no sample of it can be chosen; give a "
            "Dataset with len() and [] where samples have to be drawn"
        )

    def _arranged(self, size: int, seed: int) -> Iterator[Pair]:
        batches = iter(self._guarded(size))
        while True:
            with repeatable(seed):
                batch = next(batches, None)
            if batch is None:
                return
            try:
                yield arranged(batch, self._names)
            except CompressorError as error:
                raise DataError(f"{self._where}: {error}") from None
            seed += 1

    def _guarded(self, size: int) -> Iterator[Any]:
        """What the user's code gives, and one line for what it raises."""
        try:
            yield from self._start(size)
        except CompressorError:
            raise
        except Exception as error:
            raise DataError(f"{self._where}: reading a batch failed: {reason_of(error)}") from error

    def _first_inputs(self) -> BatchInputs:
        for inputs, _ in self._arranged(2, 0):
            return nested.map_tensors(lambda part: part[:1].clone(), inputs)
        raise DataError(f"{self._where}: no samples")

    def _counted(self) -> int:
        seen = 0
        for inputs, _ in self._arranged(64, 0):
            seen += nested.count(inputs) or 0
            if self._limit and seen >= self._limit:
                return seen
            if seen > _MOST:
                raise DataError(f"{self._where}: does not end after {_MOST:,} samples; say how many with data.limit")
        return seen
