"""One network of the zoo."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from compressor.graph.leaf import Shape


@dataclass(frozen=True)
class ModelEntry:
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


class _Unfilled(TorchFunctionMode):
    """Leaves out every initialisation: values that are nowhere need none, and drawing them has torch import its
    compiler, which takes longer than all the rest.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if getattr(func, "__module__", "") == nn.init.__name__:
            return given.get("tensor", args[0] if args else None)
        return func(*args, **given)


@functools.cache
def _counts(build: Callable[[], nn.Module]) -> tuple[int, int]:
    with torch.device("meta"), _Unfilled():
        module = build()
    statistics = sum(buffer.numel() for buffer in module.buffers() if buffer.ndim > 0)
    return sum(parameter.numel() for parameter in module.parameters()), statistics
