"""From a ``DataSpec`` to ``Data``: read, resize, hold out validation, limit, measure the statistics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from compressor.data.dataset import Data, Split
from compressor.data.folder import read_folder
from compressor.data.function import read_function
from compressor.data.named import read_named
from compressor.data.npz import read_npz
from compressor.data.parts import Parts
from compressor.data.spec import DataSpec
from compressor.data.statistics import Statistics, scaling, usual
from compressor.data.stratify import sample_count, stratified
from compressor.errors import DataError

_CHUNK = 1024


def load_data(spec: DataSpec) -> Data:
    """The data set of ``spec``; the test split does not depend on its seed.

    Where the spec leaves the normalisation open, it is what a new network is best trained with: floats as they are,
    whole-number pixels to mean 0 and deviation 1. What a trained network wants, ``engine.normalisation`` finds out.
    Raises ``DataError`` for a set that is missing, damaged, or too small for what is asked.
    """
    parts = _read(spec)
    if isinstance(parts, Data):
        own = _given(spec, parts.train.images)
        return parts if own is None else replace(parts, mean=own[0], std=own[1])
    train, validation = _hold_out(parts, spec)
    train = resized(_limited(train, spec), spec.size)
    validation = resized(validation, spec.size)
    if validation.images.shape[1:] != train.images.shape[1:]:
        raise DataError(f"{parts.name}: training and validation images differ in shape; set data.size")
    given = _given(spec, train.images)
    mean, std = given or scaling(usual(train.images), train.images)
    return Data(
        name=parts.name,
        source=parts.source,
        train=train,
        validation=validation,
        classes=parts.classes,
        mean=mean,
        std=std,
        test=_resized_later(parts.test, spec.size),
        stand_in=parts.stand_in,
        seed=spec.seed,
        settled=given is not None,
    )


def _read(spec: DataSpec) -> Parts | Data:
    if spec.name:
        return read_named(spec.name, fallback=spec.fallback)
    if spec.folder:
        return read_folder(spec)
    if spec.npz:
        return read_npz(spec)
    return read_function(spec)


def _hold_out(parts: Parts, spec: DataSpec) -> tuple[Split, Split]:
    if parts.validation is not None:
        return parts.train, parts.validation
    total = len(parts.train)
    count = sample_count(spec.validation, total)
    if count >= total:
        raise DataError(f"{parts.name}: data.validation = {spec.validation} leaves nothing of {total} training samples")
    rest, held = stratified(parts.train.labels, count, spec.seed)
    return parts.train.take(rest), parts.train.take(held)


def _limited(train: Split, spec: DataSpec) -> Split:
    if spec.limit == 0 or spec.limit >= len(train):
        return train
    _, chosen = stratified(train.labels, spec.limit, spec.seed)
    return train.take(chosen)


def _given(spec: DataSpec, images: Tensor) -> Statistics | None:
    """What the recipe says itself about mean and deviation; None where it leaves that open."""
    if spec.mean:
        if len(spec.mean) != images.shape[1]:
            raise DataError(f"data.mean: {len(spec.mean)} values for images of {images.shape[1]} channels")
        return spec.mean, spec.std
    return None if spec.normalise == "auto" else scaling(spec.normalise, images)


def _resized_later(test: Callable[[], Split], size: int) -> Callable[[], Split]:
    return lambda: resized(test(), size)


def resized(split: Split, size: int) -> Split:
    """Every image as ``size`` × ``size``, bilinear with antialiasing; unchanged where ``size`` is 0 or fits already."""
    if size == 0 or split.images.shape[2:] == (size, size):
        return split
    parts = []
    for chunk in torch.split(split.images, _CHUNK):
        smooth = F.interpolate(chunk.float(), size=(size, size), mode="bilinear", antialias=True)
        parts.append(smooth.round_().clamp_(0, 255).to(torch.uint8) if chunk.dtype == torch.uint8 else smooth)
    return Split(torch.cat(parts), split.labels)
