"""From a ``DataSpec`` to ``Data``: choose the samples, read them, check the three splits, measure the statistics."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from compressor.data.alike import check_alike
from compressor.data.checks import checked_data, class_indices_of, numbered
from compressor.data.columns import read_table
from compressor.data.dataset import Data
from compressor.data.divide import drawn
from compressor.data.folder import read_folder
from compressor.data.function import read_function
from compressor.data.gather import gather_samples
from compressor.data.memory import budget
from compressor.data.named import read_named
from compressor.data.npz import read_npz
from compressor.data.parts import Parts
from compressor.data.pool import Held, Pool
from compressor.data.spec import DataSpec
from compressor.data.split import Split
from compressor.data.statistics import Statistics, input_channels, scaling, usual_scaling
from compressor.data.stratify import sample_count
from compressor.errors import DataError
from compressor.task import Task


def load_data(spec: DataSpec, task: Task | None = None, *, check: bool = True) -> Data:
    """The data set of ``spec`` for a task, by default the usual one; the test split does not depend on its seed.

    Where the spec leaves the normalisation open, it is what a new network is best trained with: floats as they are,
    whole-number pixels to mean 0 and deviation 1. What a trained network wants, ``engine.normalisation`` finds out.
    ``check`` has a look at the test split too, and for images that occur twice: once a run is enough. Raises
    ``DataError`` for a set that is missing, damaged, too small for what is asked, or not one set.
    """
    spec = for_task(spec, task)
    return made(_read(spec), spec, task, check=check)


def for_task(spec: DataSpec, task: Task | None) -> DataSpec:
    """``spec`` with what the task makes of whole numbers among the targets, where it does not say so itself."""
    if task is None or spec.targets != "auto":
        return spec
    return replace(spec, targets="none" if task.own_answers else "numbers" if task.numbers else "auto")


def made(parts: Parts | Data, spec: DataSpec, task: Task | None, *, check: bool = True) -> Data:
    """The set that is made of these parts as ``spec`` says, for a task. Raises ``DataError``."""
    data = _finished(parts, spec, check) if isinstance(parts, Data) else _assembled(parts, spec, check)
    return data if task is None else replace(data, task=task)


def _finished(data: Data, spec: DataSpec, check: bool) -> Data:
    """A set that somebody made, with what ``spec`` says of its normalisation. Raises ``DataError``."""
    own = _given(spec, data.train)
    data = data if own is None else replace(data, mean=own[0], std=own[1])
    return checked_data(data, named=True, separate=("validation", "test")) if check else data


def _assembled(parts: Parts, spec: DataSpec, check: bool) -> Data:
    train, validation = _read_splits(parts, spec)
    check_alike(parts.name, train, validation, "validation")
    given = _given(spec, train)
    mean, std = given or scaling(usual_scaling(train), train)
    data = Data(
        name=parts.name,
        source=parts.source,
        train=train,
        validation=validation,
        classes=parts.classes or numbered(class_indices_of(train), class_indices_of(validation)),
        mean=mean,
        std=std,
        test=partial(_test, parts, spec),
        stand_in=parts.stand_in,
        seed=spec.seed,
        settled=given is not None,
        notes=parts.notes,
    )
    if not check or parts.published:
        return data
    return checked_data(data, named=bool(parts.classes), separate=parts.separate)


def _read(spec: DataSpec) -> Parts | Data:
    if spec.name:
        return read_named(spec.name, fallback=spec.fallback, download=spec.download)
    if spec.folder:
        return read_folder(spec)
    if spec.npz:
        return read_npz(spec)
    if spec.table:
        return read_table(spec)
    return read_function(spec)


def _read_splits(parts: Parts, spec: DataSpec) -> tuple[Split, Split]:
    """Training and validation samples. Where one is held out of the other, both are read together."""
    if parts.validation is not None:
        return _all(parts.train, spec, spec.limit), _all(parts.validation, spec)
    total = len(parts.train)
    count = sample_count(spec.validation, total)
    if count >= total:
        raise DataError(f"{parts.name}: data.validation = {spec.validation} leaves nothing of {total} training samples")
    strata = parts.train.strata
    rest, held = drawn(total, strata, count, spec.seed)
    rest = _limited(rest, strata, spec)
    used = torch.cat([rest, held]).sort().values
    both = gather_samples(parts.train, used, spec.geometry, budget(spec.memory), spec.processes)
    return both.take(torch.searchsorted(used, rest)), both.take(torch.searchsorted(used, held))


def _all(pool: Pool, spec: DataSpec, limit: int = 0) -> Split:
    """Every sample of a pool, or ``limit`` of them."""
    if isinstance(pool, Held) and not pool.indexed:
        return pool.first(limit, spec.geometry)
    rows = torch.arange(len(pool))
    chosen = _limited(rows, pool.strata, spec) if limit else rows
    return gather_samples(pool, chosen, spec.geometry, budget(spec.memory), spec.processes)


def _limited(rows: Tensor, strata: Tensor | None, spec: DataSpec) -> Tensor:
    if spec.limit == 0 or spec.limit >= len(rows):
        return rows
    _, chosen = drawn(len(rows), None if strata is None else strata[rows], spec.limit, spec.seed)
    return rows[chosen]


def _test(parts: Parts, spec: DataSpec) -> Split:
    return _all(parts.test(), spec)


def _given(spec: DataSpec, train: Split) -> Statistics | None:
    """What the recipe says itself about mean and deviation; None where it leaves that open."""
    if spec.mean:
        if len(spec.mean) != input_channels(train):
            raise DataError(f"data.mean: {len(spec.mean)} values for images of {input_channels(train)} channels")
        return spec.mean, spec.std
    return None if spec.normalise == "auto" else scaling(spec.normalise, train)
