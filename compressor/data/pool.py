"""Samples as their source holds them: class indices at once, images in bounded blocks when they are asked for.

What a recipe asks for (a validation split, a limit, a size) is decided on the class indices; only then are images
read, and only those.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Final

import torch
from torch import Tensor

from compressor.data.dataset import Split

BLOCK: Final = 32 << 20
"""Bytes of images that are in memory at once while a set is read."""


class Pool(ABC):
    """What a reader gives. ``where`` names the samples in messages."""

    labels: Tensor
    where: str
    sized: bool = False
    """Whether the images come in the size that is asked for; else they are resized afterwards."""

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def blocks(self, rows: Tensor) -> Iterator[Tensor]:
        """The images of ``rows``, which ascend, as ``(n, C, H, W)`` of uint8 or float32, a bounded number at a time."""

    @property
    def key(self) -> str:
        """Changes whenever the images may have changed; "" where nothing can vouch for that."""
        return ""

    @property
    def facts(self) -> Mapping[str, str]:
        """What was found out while reading, and is to be kept with the images."""
        return {}

    def recall(self, facts: Mapping[str, str]) -> None:
        """Take up the facts kept with images that need not be read again."""

    def ready(self, rows: Tensor) -> Split | None:
        """The samples of ``rows`` without any reading, where they lie in memory or in a mapped file."""
        return None


class Held(Pool):
    """A split that is there already."""

    def __init__(self, split: Split, where: str) -> None:
        self._split = split
        self.labels = split.labels
        self.where = where

    def blocks(self, rows: Tensor) -> Iterator[Tensor]:
        for part in torch.split(rows, rows_per_block(self._split.store[:1].nbytes)):
            yield self._split.read(part)

    def ready(self, rows: Tensor) -> Split:
        return self._split if len(rows) == len(self._split) else self._split.take(rows)


class Part(Pool):
    """Some samples of another pool, in ascending order."""

    def __init__(self, pool: Pool, rows: Tensor) -> None:
        self.whole = pool
        self.rows = rows
        self.labels = pool.labels[rows]
        self.where = pool.where

    def blocks(self, rows: Tensor) -> Iterator[Tensor]:
        return self.whole.blocks(self.rows[rows])


def rows_per_block(image_bytes: int) -> int:
    """How many images of that size may be in memory at once."""
    return max(1, BLOCK // max(image_bytes, 1))
