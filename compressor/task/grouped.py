"""Metrics of torchmetrics as meters, with a standard error.

A corpus metric (mean IoU, average precision) is no mean over samples, so its error comes from the delete-one-group
jackknife (Quenouille 1949; Efron and Stein 1981): samples fall into ``GROUPS`` groups, the metric is taken without each
group in turn, and the error is √((G − 1)/G · Σ(m₋ᵢ − m̄)²).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, Protocol, Self

import torch

from compressor.graph.nested import rows, samples, tensors


class TorchMetric(Protocol):
    """What is needed of a metric; those of torchmetrics are such."""

    @property
    def device(self) -> Any: ...
    def to(self, device: Any, /) -> Self: ...
    def update(self, *values: Any) -> None: ...
    def merge_state(self, incoming_state: Any, /) -> None: ...
    def compute(self) -> Any: ...


GROUPS = 12
_CHUNKS = 4


class Grouped:
    """A meter over a metric of torchmetrics.

    ``arguments`` turns the outputs and the target of a batch into what the metric's ``update`` takes, each with one
    entry per sample; ``make`` gives a new metric for such arguments.
    """

    def __init__(
        self, make: Callable[[tuple[Any, ...]], TorchMetric], arguments: Callable[[Any, Any], tuple[Any, ...]]
    ) -> None:
        self._make, self._arguments = make, arguments
        self._groups: list[TorchMetric] = []
        self._next = 0

    def update(self, outputs: Any, target: Any) -> None:
        values = self._arguments(outputs, target)
        count = samples(values[0])
        size = max(1, math.ceil(count / _CHUNKS))
        for start in range(0, count, size):
            if len(self._groups) < GROUPS:
                self._groups.append(self._make(values).to(_device(values)))
            group = self._groups[self._next % GROUPS]
            part = tuple(rows(value, slice(start, start + size)) for value in values)
            group.update(*part)
            self._next += 1

    def value(self) -> float:
        return self._over(self._groups) if self._groups else math.nan

    def error(self) -> float | None:
        count = len(self._groups)
        if count < 3:
            return None
        left_out = [self._over(self._groups[:index] + self._groups[index + 1 :]) for index in range(count)]
        mean = sum(left_out) / count
        return math.sqrt((count - 1) / count * sum((value - mean) ** 2 for value in left_out))

    def _over(self, groups: list[TorchMetric]) -> float:
        """The metric over the samples of several groups."""
        whole = copy.deepcopy(groups[0])
        for group in groups[1:]:
            whole.merge_state(group)
        return float(whole.compute())


def _device(values: tuple[Any, ...]) -> torch.device:
    return next((tensor.device for tensor in tensors(values)), torch.device("cpu"))
