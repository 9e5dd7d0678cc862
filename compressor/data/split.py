"""What every split can do, whatever it is made of: arrays, files, a user's dataset or a user's loader.

Batches are pairs ``(inputs, target)``. ``inputs`` is a tensor, or a tuple of tensors in the order of the network's
inputs, as the source holds them: uint8 for whole-number pixels, float32 for anything measured. ``target`` is what the
task takes: a tensor with the samples along the first dimension, a tuple or dictionary of such, a list with one entry
per sample, or None where there is nothing to learn but the network's own answers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from math import prod
from typing import Any

import torch
from torch import Tensor

from compressor.data.blocks import rows_per_block
from compressor.errors import DataError
from compressor.graph import nested
from compressor.graph.leaf import Shape
from compressor.task.task import Target as Target

BatchInputs = Any
"""A tensor, or a tuple of tensors in the order of the network's inputs."""
Pair = tuple[BatchInputs, Target]


class Split(ABC):
    """Samples in an order. Nothing is read before it is asked for."""

    indexed: bool = True
    """Whether samples can be chosen. Where not, they come in passes, always from the first one on."""
    held: bool = False
    """Whether the values lie in memory or in a mapped file, so that reading them costs next to nothing."""

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def shapes(self) -> tuple[Shape, ...]:
        """Of one sample, for every input."""

    @property
    @abstractmethod
    def dtypes(self) -> tuple[torch.dtype, ...]:
        """Of the raw values, for every input."""

    @abstractmethod
    def fetch(self, indices: Tensor) -> Pair:
        """The samples at ``indices``, copied. Raises ``DataError`` where samples cannot be chosen."""

    @abstractmethod
    def batches(self, size: int, order: Tensor | None = None, seed: int = 0) -> Iterator[Pair]:
        """All samples, ``size`` at a time (the last of them fewer), as they lie, or those of ``order``.

        The values may be views of what is stored: do not write to them. ``seed`` repeats what a user's dataset does at
        random. A loader of the user's own has batches of its own size.
        """

    @abstractmethod
    def take(self, indices: Tensor) -> Split:
        """The samples at ``indices``, in that order, not copied. Raises ``DataError`` where none can be chosen."""

    @abstractmethod
    def first(self, count: int) -> Split:
        """The first ``count`` samples, or all where there are fewer."""

    # --- what follows from that ----------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self):,} samples of {' and '.join(map(str, self.shapes))})"

    @property
    def shape(self) -> Shape:
        """Of one sample of the first input, such as ``(C, H, W)``."""
        return self.shapes[0]

    @property
    def dtype(self) -> torch.dtype:
        """Of the raw values of the first input."""
        return self.dtypes[0]

    @property
    def nbytes(self) -> int:
        """Of all inputs."""
        return len(self) * self.sample_bytes

    @property
    def sample_bytes(self) -> int:
        """Of all inputs of one sample."""
        return sum(prod(shape) * dtype.itemsize for shape, dtype in zip(self.shapes, self.dtypes, strict=True))

    def read(self, indices: Tensor) -> BatchInputs:
        """The inputs at ``indices``, copied."""
        return self.fetch(indices)[0]

    def targets(self, indices: Tensor | None = None) -> Target:
        """The targets at ``indices``, or of all samples."""
        if indices is not None:
            return self.fetch(indices)[1]
        return nested.joined([target for _, target in self.batches(rows_per_block(self.sample_bytes))])

    def some(self, count: int, seed: int = 0) -> Split:
        """``count`` samples (fewer where there are fewer), the same ones for one seed: drawn evenly from all of them,
        or the first ones where they cannot be chosen.
        """
        if not self.indexed:
            return self.first(count)
        return self.take(torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count])

    def joined(self, other: Split) -> Split:
        """The samples of both, one behind the other; nothing is copied."""
        return JoinedSplit((self, other))

    @property
    def images(self) -> BatchInputs:
        """All inputs at once. A large set does not fit in memory: there, use ``read`` or ``batches``."""
        return nested.joined([inputs for inputs, _ in self.batches(rows_per_block(self.sample_bytes))])


class JoinedSplit(Split):
    """Several splits of one kind of sample, one behind the other."""

    def __init__(self, parts: tuple[Split, ...]) -> None:
        one = parts[0]
        for other in parts[1:]:
            if (other.shapes, other.dtypes) != (one.shapes, one.dtypes):
                raise DataError(f"samples of {other.shapes} and of {one.shapes} make no one split")
        self._parts = parts
        self._ends = torch.tensor([len(part) for part in parts]).cumsum(0)
        self.indexed = all(part.indexed for part in parts)
        self.held = all(part.held for part in parts)

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return self._parts[0].shapes

    @property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        return self._parts[0].dtypes

    def fetch(self, indices: Tensor) -> Pair:
        home = torch.searchsorted(self._ends, indices, right=True)
        places, pairs = [], []
        for number, part in enumerate(self._parts):
            (place,) = (home == number).nonzero(as_tuple=True)
            if len(place):
                places.append(place)
                pairs.append(part.fetch(indices[place] - int(self._ends[number]) + len(part)))
        if not pairs:
            return self._parts[0].fetch(indices)
        found: Pair = nested.rows(nested.joined(pairs), torch.cat(places).argsort())
        return found

    def batches(self, size: int, order: Tensor | None = None, seed: int = 0) -> Iterator[Pair]:
        if order is None:
            for part in self._parts:
                yield from part.batches(size, seed=seed)
        else:
            for indices in torch.split(order, size):
                yield self.fetch(indices)

    def take(self, indices: Tensor) -> Split:
        return TakenSplit(self, indices)

    def first(self, count: int) -> Split:
        left, parts = count, []
        for part in self._parts:
            parts.append(part.first(left))
            left -= len(parts[-1])
        return JoinedSplit(tuple(parts))


class TakenSplit(Split):
    """Some samples of another split, in an order of their own."""

    def __init__(self, whole: Split, rows: Tensor) -> None:
        if not whole.indexed:
            whole.fetch(rows)  # says why not
        self._whole = whole
        self._rows = rows
        self.held = whole.held

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return self._whole.shapes

    @property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        return self._whole.dtypes

    def fetch(self, indices: Tensor) -> Pair:
        return self._whole.fetch(self._rows[indices])

    def batches(self, size: int, order: Tensor | None = None, seed: int = 0) -> Iterator[Pair]:
        return self._whole.batches(size, self._rows if order is None else self._rows[order], seed)

    def take(self, indices: Tensor) -> Split:
        return TakenSplit(self._whole, self._rows[indices])

    def first(self, count: int) -> Split:
        return TakenSplit(self._whole, self._rows[:count])
