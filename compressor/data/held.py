"""A split whose values lie in tensors, in memory or in a mapped file, which several splits may share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from compressor.data.mapped import Touched
from compressor.data.split import BatchInputs, Pair, Split, Target
from compressor.errors import DataError
from compressor.graph import nested
from compressor.graph.leaf import Shape
from compressor.graph.nested import value_in_words

_RAW = (torch.uint8, torch.float32, torch.int64)


@dataclass(frozen=True, eq=False, repr=False)
class HeldSplit(Split):
    """Inputs ``(N, …)`` of any rank, uint8 (0…255), float32 or int64, and their targets; ``rows`` says which are meant.

    Targets may be stored in any type: whole numbers are read as int64, floating point as float32.
    """

    stored: BatchInputs
    target: Target = None
    rows: Tensor | None = None
    """Indices into what is stored; None for all of it as it lies."""
    touched: Touched | None = field(default=None, repr=False)
    """Told of every reading where the values lie in a mapped file."""
    held = True

    def __post_init__(self) -> None:
        for tensor in self.tensors:
            if tensor.ndim < 1 or tensor.dtype not in _RAW:
                raise DataError(f"images must be (N, …) of uint8, float32 or int64, not {value_in_words(tensor)}")
        try:
            samples = nested.count(self.tensors)
        except ValueError as error:
            raise DataError(f"the inputs are {error}") from None
        try:
            targets = nested.count(self.target)
        except ValueError as error:
            raise DataError(f"the targets are {error}") from None
        if targets not in (None, samples):
            what = "labels" if isinstance(self.target, Tensor) and self.target.ndim == 1 else "targets"
            raise DataError(f"{samples} images but {targets} {what}")

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What is stored of every input."""
        return self.stored if isinstance(self.stored, tuple) else (self.stored,)

    @property
    def store(self) -> Tensor:
        """What is stored of the first input."""
        return self.tensors[0]

    def __len__(self) -> int:
        return len(self.store) if self.rows is None else len(self.rows)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return tuple(tuple(tensor.shape[1:]) for tensor in self.tensors)

    @property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        return tuple(tensor.dtype for tensor in self.tensors)

    def fetch(self, indices: Tensor) -> Pair:
        return self._at(indices if self.rows is None else self.rows[indices])

    def batches(self, size: int, order: Tensor | None = None, seed: int = 0) -> Iterator[Pair]:
        rows = self.rows if order is None else order if self.rows is None else self.rows[order]
        for start in range(0, len(self) if rows is None else len(rows), size):
            part = slice(start, start + size)
            yield self._at(part if rows is None else rows[part])

    def targets(self, indices: Tensor | None = None) -> Target:
        rows = self.rows if indices is None else indices if self.rows is None else self.rows[indices]
        return nested.map_tensors(_plain, self.target if rows is None else nested.rows(self.target, rows))

    def take(self, indices: Tensor) -> HeldSplit:
        return replace(self, rows=indices if self.rows is None else self.rows[indices])

    def first(self, count: int) -> HeldSplit:
        return self.take(torch.arange(min(count, len(self))))

    def joined(self, other: Split) -> Split:
        if not isinstance(other, HeldSplit) or other.store is not self.store:
            return super().joined(other)
        rows = [torch.arange(len(part)) if part.rows is None else part.rows for part in (self, other)]
        return replace(self, rows=torch.cat(rows))

    @property
    def images(self) -> BatchInputs:
        return self.stored if self.rows is None else nested.rows(self.stored, self.rows)

    def _at(self, rows: Tensor | slice) -> Pair:
        pair = nested.rows(self.stored, rows), nested.map_tensors(_plain, nested.rows(self.target, rows))
        if self.touched is not None:
            count = nested.count(pair[0]) or 0
            self.touched(count * self.sample_bytes, 1 if isinstance(rows, slice) else count)
        return pair


def _plain(target: Tensor) -> Tensor:
    """Whole numbers as int64, floating point as float32: what losses take."""
    if target.dtype.is_floating_point:
        return target.to(torch.float32)
    return target if target.dtype == torch.bool else target.to(torch.int64)
