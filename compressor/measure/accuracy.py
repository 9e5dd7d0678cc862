"""Accuracy of an ONNX file in ONNX Runtime: what a user of the file gets."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from compressor.errors import DataError, InputError
from compressor.measure.session import OnnxModel


def onnx_accuracy(
    model: bytes | Path, images: Tensor | NDArray[Any], labels: Tensor | NDArray[Any], batch: int = 256
) -> float:
    """Share of samples whose largest output is their label, in [0, 1].

    ``images`` (N, C, H, W) as the network expects them (already normalised); ``labels`` (N,) class indices. A file that
    is fixed to one batch size is fed with that. Raises ``DataError`` when there is nothing to score.
    """
    array = np.asarray(images)
    truth = np.asarray(labels)
    if len(array) == 0 or len(array) != len(truth):
        raise DataError(
            f"{len(array)} images and {len(truth)} labels: accuracy needs as many of each, and at least one"
        )
    return onnx_accuracy_over(model, [(array, truth)], batch)


def onnx_accuracy_over(
    model: bytes | Path, parts: Iterable[tuple[Tensor | NDArray[Any], Tensor | NDArray[Any]]], batch: int = 256
) -> float:
    """The same over a split that comes in parts, of which one is in memory at a time."""
    runner = OnnxModel(model)
    right, count = 0, 0
    for images, labels in parts:
        truth = np.asarray(labels)
        predictions = predict(runner, np.asarray(images), batch).reshape(len(truth), -1).argmax(axis=1)
        right += int((predictions == truth).sum())
        count += len(truth)
    return right / max(count, 1)


def predict(model: bytes | Path | OnnxModel, images: NDArray[Any], batch: int = 256) -> NDArray[Any]:
    """Outputs ``(N, …)`` for any number of images, in batches; the last one is filled up where the file needs it."""
    runner = model if isinstance(model, OnnxModel) else OnnxModel(model)
    if batch < 1:
        raise InputError(f"a batch of {batch} images: at least one is needed")
    size = runner.batch or batch
    outputs = []
    for start in range(0, len(images), size):
        part = images[start : start + size]
        missing = size - len(part) if runner.batch else 0
        if missing:
            part = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)])
        outputs.append(runner.run(part)[0][: len(part) - missing])
    return np.concatenate(outputs)
