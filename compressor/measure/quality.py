"""The quality of an ONNX file in ONNX Runtime: what a user of the file gets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.errors import DataError, InputError
from compressor.graph.nested import Nested, joined, rows, samples, tensors
from compressor.measure.session import OnnxModel
from compressor.task import Task

Nest = Callable[[tuple[Tensor, ...]], Nested]
"""Flat outputs of a file as the network's owner returned them."""


def only(flat: tuple[Tensor, ...]) -> Nested:
    """The one output, or all of them as a tuple."""
    return flat[0] if len(flat) == 1 else flat


def onnx_quality(
    model: bytes | Path, batches: Iterable[tuple[Nested, Any]], task: Task, *, nest: Nest = only, batch: int = 256
) -> float:
    """The task's metric over batches of ``(inputs, target)``, of which one is in memory at a time.

    Inputs as the file takes them. A file that is fixed to one batch size is fed with that. Raises ``DataError`` when
    there is nothing to score.
    """
    runner, meter, count = OnnxModel(model), task.meter(), 0
    for inputs, target in batches:
        meter.update(nest(_answered(runner, inputs, batch)), target)
        count += samples(inputs)
    if count == 0:
        raise DataError("there are no samples to score: at least one is needed")
    return meter.value()


def predict(model: bytes | Path | OnnxModel, inputs: Tensor | NDArray[Any], batch: int = 256) -> NDArray[Any]:
    """The first output ``(N, …)`` for any number of samples, in batches; the last one is filled up where the file needs
    it.
    """
    runner = model if isinstance(model, OnnxModel) else OnnxModel(model)
    if batch < 1:
        raise InputError(f"a batch of {batch} samples: at least one is needed")
    return _answered(runner, torch.as_tensor(np.asarray(inputs)), batch)[0].numpy()


def _answered(runner: OnnxModel, inputs: Nested, batch: int) -> tuple[Tensor, ...]:
    parts = list(_in_batches(runner, inputs, batch))
    whole: tuple[Tensor, ...] = joined(parts)
    return whole


def _in_batches(runner: OnnxModel, inputs: Nested, batch: int) -> Iterator[tuple[Tensor, ...]]:
    size, count = runner.batch or batch, samples(inputs)
    for start in range(0, count, size):
        part = rows(inputs, slice(start, start + size))
        given = samples(part)
        if runner.batch and given < size:
            part = joined([part, *[rows(part, slice(given - 1, given))] * (size - given)])
        yield tuple(torch.from_numpy(np.asarray(output))[:given] for output in runner.run(tuple(tensors(part))))
