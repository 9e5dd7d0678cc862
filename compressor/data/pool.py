"""Samples as their source holds them: what is known of each at once, the rest in bounded blocks when it is asked for.

What a recipe asks for (a validation split, a limit, a size) is decided on what is known; only then are samples read,
and only those.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from compressor.data.blocks import rows_per_block
from compressor.data.geometry import Geometry
from compressor.data.held import HeldSplit
from compressor.data.mapped import Touched
from compressor.data.split import Split, Target
from compressor.errors import DataError
from compressor.graph import nested

SampleBlock = Mapping[str, Tensor]
"""Some samples: tensors of equal length, by names that the pool chooses."""


class Pool(ABC):
    """What a reader gives. ``where`` names the samples in messages."""

    where: str
    known: Target = None
    """What is known of every sample without reading it: class indices, numbers, boxes; all of the target, or nothing.
    """
    indexed: bool = True
    """Whether samples can be chosen."""
    sized: bool = False
    """Whether the samples come in the size that is asked for; else they are resized afterwards."""

    inputs: int = 1
    read_target: Target = None
    """An example of a target that is read along with the inputs: its structure counts. None where it is ``known``."""

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    def strata(self) -> Tensor | None:
        """Class indices ``(N,)``, of which every split gets its share; None where there are none."""
        known = self.known
        whole = isinstance(known, Tensor) and known.ndim == 1 and not known.dtype.is_floating_point
        return known if whole else None

    def ready(self, rows: Tensor, geometry: Geometry) -> Split | None:
        """The samples of ``rows``, which ascend, without any reading; None where they have to be read."""
        return None

    def blocks(self, rows: Tensor) -> Iterator[SampleBlock]:
        """``rows``, which ascend, a bounded number at a time: inputs ``x0``, ``x1``, … and, where targets are read,
        their tensors ``y0``, ``y1``, … in order.
        """
        raise NotImplementedError

    def streamed(self, rows: Tensor, workers: int) -> Split | None:
        """The samples of ``rows``, read anew each time; None where no single sample can be read."""
        return None

    @property
    def key(self) -> str:
        """Changes whenever the samples may have changed; "" where nothing can vouch for that."""
        return ""

    @property
    def facts(self) -> Mapping[str, str]:
        """What was found out while reading, and is to be kept with the samples."""
        return {}

    def recall(self, facts: Mapping[str, str]) -> None:
        """Take up the facts kept with samples that need not be read again."""

    # --- what follows from that ----------------------------------------------------------------------------------

    def resized(self, block: SampleBlock, geometry: Geometry) -> SampleBlock:
        """A block in the wanted size: every image, and every map that is as large as the first of them."""
        sides = block["x0"].shape[2:]
        result = {}
        for name, tensor in block.items():
            if name.startswith("x"):
                if tensor.ndim != 4:
                    raise DataError(
                        f"{self.where}: data.size, data.resize and data.crop are for images, and these samples are "
                        f"{tuple(tensor.shape[1:])}"
                    )
                result[name] = geometry.of_tensor(tensor)
            else:
                result[name] = geometry.of_map(tensor) if tensor.ndim > 2 and tensor.shape[-2:] == sides else tensor
        return result

    def together(self, stored: SampleBlock, rows: Tensor, touched: Touched | None = None) -> HeldSplit:
        """The samples of ``rows``, of which everything was read."""
        inputs = tuple(stored[f"x{number}"] for number in range(self.inputs))
        if self.read_target is None:
            target = nested.rows(self.known, rows)
        else:
            read = iter([stored[f"y{number}"] for number in range(len(stored) - self.inputs)])
            target = nested.map_tensors(lambda _: next(read), self.read_target)
        return HeldSplit(inputs if self.inputs > 1 else inputs[0], target, touched=touched)


class Held(Pool):
    """A split that is there already. ``strata``: class indices, where they are known without reading it."""

    def __init__(self, split: Split, where: str, strata: Tensor | None = None) -> None:
        self._split = split
        self._strata = strata
        self.where = where
        self.indexed = split.indexed
        self.inputs = len(split.shapes)
        if isinstance(split, HeldSplit):
            target = split.target if split.rows is None else nested.rows(split.target, split.rows)
            maps = any(tensor.ndim > 2 for tensor in nested.tensors(target))
            self.known, self.read_target = (None, split.target) if maps else (target, None)

    def __len__(self) -> int:
        return len(self._split)

    @property
    def strata(self) -> Tensor | None:
        return super().strata if self._strata is None else self._strata

    def first(self, count: int, geometry: Geometry) -> Split:
        """The first samples; 0 means all. Raises ``DataError`` where they would have to be resized."""
        self._refuse(geometry)
        return self._split.first(count) if count else self._split

    def ready(self, rows: Tensor, geometry: Geometry) -> Split | None:
        if geometry and isinstance(self._split, HeldSplit):
            return None
        self._refuse(geometry)
        return self._split if len(rows) == len(self) else self._split.take(rows)

    def _refuse(self, geometry: Geometry) -> None:
        if geometry:
            raise DataError(
                f"{self.where}: data.size, data.resize and data.crop are for images in files and arrays; bring these "
                "samples to their size in the Dataset"
            )

    def blocks(self, rows: Tensor) -> Iterator[SampleBlock]:
        assert isinstance(self._split, HeldSplit)
        each = self._split.nbytes // max(len(self._split), 1)
        stored = nested.tensors(self._split.stored), nested.tensors(self.read_target)
        named = {f"{kind}{n}": tensor for kind, part in zip("xy", stored, strict=True) for n, tensor in enumerate(part)}
        own = self._split.rows
        for part in torch.split(rows if own is None else own[rows], rows_per_block(each)):
            yield {name: tensor[part] for name, tensor in named.items()}


class SubPool(Pool):
    """Some samples of another pool, in ascending order."""

    def __init__(self, pool: Pool, rows: Tensor) -> None:
        self.whole = pool
        self.rows = rows
        self.known = nested.rows(pool.known, rows)
        self.where = pool.where

    @property
    def strata(self) -> Tensor | None:
        return None if self.whole.strata is None else self.whole.strata[self.rows]

    def __len__(self) -> int:
        return len(self.rows)
