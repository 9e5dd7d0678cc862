"""From a ``DataSpec`` to ``Data``: choose the samples, read them, check the three splits, measure the statistics."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from compressor.data.checks import check_classes, check_scale, repeated, unseen_classes
from compressor.data.dataset import Data, Split, check_alike
from compressor.data.folder import read_folder
from compressor.data.function import read_function
from compressor.data.gather import gather
from compressor.data.memory import budget
from compressor.data.named import read_named
from compressor.data.npz import read_npz
from compressor.data.parts import Parts
from compressor.data.spec import DataSpec
from compressor.data.statistics import Statistics, scaling, usual
from compressor.data.stratify import sample_count, stratified
from compressor.errors import DataError


def load_data(spec: DataSpec, *, check: bool = True) -> Data:
    """The data set of ``spec``; the test split does not depend on its seed.

    Where the spec leaves the normalisation open, it is what a new network is best trained with: floats as they are,
    whole-number pixels to mean 0 and deviation 1. What a trained network wants, ``engine.normalisation`` finds out.
    ``check`` has a look at the test split too, and for images that occur twice: once a run is enough. Raises
    ``DataError`` for a set that is missing, damaged, too small for what is asked, or not one set.
    """
    parts = _read(spec)
    data = _given_data(parts, spec) if isinstance(parts, Data) else _assembled(parts, spec)
    if not check or (isinstance(parts, Parts) and parts.published):
        return data
    separate = parts.separate if isinstance(parts, Parts) else ("validation", "test")
    return _checked(data, bool(parts.classes), separate)


def _given_data(data: Data, spec: DataSpec) -> Data:
    own = _given(spec, data.train)
    return data if own is None else replace(data, mean=own[0], std=own[1])


def _read(spec: DataSpec) -> Parts | Data:
    if spec.name:
        return read_named(spec.name, fallback=spec.fallback, download=spec.download)
    if spec.folder:
        return read_folder(spec)
    if spec.npz:
        return read_npz(spec)
    return read_function(spec)


def _assembled(parts: Parts, spec: DataSpec) -> Data:
    train, validation = _read_splits(parts, spec)
    check_alike(parts.name, train, validation, "validation")
    given = _given(spec, train)
    mean, std = given or scaling(usual(train), train)
    return Data(
        name=parts.name,
        source=parts.source,
        train=train,
        validation=validation,
        classes=parts.classes or _numbered(train.labels, validation.labels),
        mean=mean,
        std=std,
        test=partial(_test, parts, spec),
        stand_in=parts.stand_in,
        seed=spec.seed,
        settled=given is not None,
        notes=parts.notes,
    )


def _read_splits(parts: Parts, spec: DataSpec) -> tuple[Split, Split]:
    """Training and validation samples. Where one is held out of the other, both are read together."""
    memory = budget(spec.memory)
    labels = parts.train.labels
    if parts.validation is not None:
        train = gather(parts.train, _limited(torch.arange(len(labels)), labels, spec), spec.geometry, memory)
        own = torch.arange(len(parts.validation))
        return train, gather(parts.validation, own, spec.geometry, memory)
    count = sample_count(spec.validation, len(labels))
    if count >= len(labels):
        raise DataError(
            f"{parts.name}: data.validation = {spec.validation} leaves nothing of {len(labels)} training samples"
        )
    rest, held = stratified(labels, count, spec.seed)
    rest = _limited(rest, labels, spec)
    used = torch.cat([rest, held]).sort().values
    both = gather(parts.train, used, spec.geometry, memory)
    return both.take(torch.searchsorted(used, rest)), both.take(torch.searchsorted(used, held))


def _limited(rows: Tensor, labels: Tensor, spec: DataSpec) -> Tensor:
    if spec.limit == 0 or spec.limit >= len(rows):
        return rows
    _, chosen = stratified(labels[rows], spec.limit, spec.seed)
    return rows[chosen]


def _test(parts: Parts, spec: DataSpec) -> Split:
    pool = parts.test()
    return gather(pool, torch.arange(len(pool)), spec.geometry, budget(spec.memory))


def _checked(data: Data, named: bool, separate: Collection[str]) -> Data:
    """The same set with notes on what is odd about it; raises ``DataError`` where its splits do not go together.

    ``named``: someone gave the names of the classes, so that there are no others. ``separate``: the splits that may be
    on a scale of their own.
    """
    test = data.test()
    splits = {"training": data.train, "validation": data.validation, "test": test}
    labels = {name: split.labels for name, split in splits.items()}
    if not named and len(data.classes) <= int(test.labels.max()):
        data = replace(data, classes=_numbered(*labels.values()))
    check_classes(data.name, data.classes, labels)
    for name, split in (("validation", data.validation), ("test", test)):
        check_alike(data.name, data.train, split, name)
        if name in separate:
            check_scale(data.name, data.train, split, name)
    return replace(data, notes=(*data.notes, *unseen_classes(data.classes, labels), *repeated(splits)))


def _numbered(*labels: Tensor) -> tuple[str, ...]:
    return tuple(str(index) for index in range(1 + max(int(part.max()) for part in labels)))


def _given(spec: DataSpec, train: Split) -> Statistics | None:
    """What the recipe says itself about mean and deviation; None where it leaves that open."""
    if spec.mean:
        if len(spec.mean) != train.shape[0]:
            raise DataError(f"data.mean: {len(spec.mean)} values for images of {train.shape[0]} channels")
        return spec.mean, spec.std
    return None if spec.normalise == "auto" else scaling(spec.normalise, train)
