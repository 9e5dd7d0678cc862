"""One network of the zoo."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from compressor.graph.leaf import Shape


@dataclass(frozen=True)
class Entry:
    """A network that can be built by name, with fresh random weights."""

    name: str
    input_shape: Shape
    """``(C, H, W)`` of one sample."""
    build: Callable[[], nn.Module]
    about: str
    counts_statistics: bool = False
    """Whether ``params`` counts running means and variances too, as the source of the network does."""

    @property
    def trainable(self) -> int:
        """Number of trainable values."""
        return _counts(self.build)[0]

    @property
    def params(self) -> int:
        """Number of parameters the way the network's source counts them."""
        trainable, statistics = _counts(self.build)
        return trainable + statistics if self.counts_statistics else trainable


@functools.cache
def _counts(build: Callable[[], nn.Module]) -> tuple[int, int]:
    with torch.device("meta"):
        module = build()
    statistics = sum(buffer.numel() for buffer in module.buffers() if buffer.ndim > 0)
    return sum(parameter.numel() for parameter in module.parameters()), statistics
