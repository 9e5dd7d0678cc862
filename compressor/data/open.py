"""The one way in for whoever has data in any form: a place, a name, live objects, a finished ``Data``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from compressor.data.columns import TABLES
from compressor.data.dataset import Data
from compressor.data.function import parts_from
from compressor.data.live_parts import live_parts
from compressor.data.load import for_task, load_data, made
from compressor.data.reading import Collate
from compressor.data.spec import SOURCES, DataSpec
from compressor.graph.leaf import Shape
from compressor.present import LIVE
from compressor.task import Task


def spec_of(where: str | Path, spec: DataSpec | None = None) -> DataSpec:
    """What ``--data`` means: a folder or a file that is there, a function where there is a colon, else a named set.

    Everything else is as in ``spec``.
    """
    path = Path(where).expanduser()
    text = str(where)
    if path.is_dir():
        return _with_source(spec, folder=str(path))
    if path.suffix.lower() in TABLES:
        return _with_source(spec, table=str(path))
    if path.suffix == ".npz" or path.is_file():
        return _with_source(spec, npz=str(path))
    return _with_source(spec, function=text) if ":" in text else _with_source(spec, name=text)


def suited(spec: DataSpec, shapes: Sequence[Shape], names: Sequence[str] = ()) -> DataSpec:
    """``spec`` for a network that takes inputs of these shapes (of one sample) and names, where it does not say itself.

    Arrays are then read as the network takes them: ``(N, L)`` as signals of one channel where it takes signals.
    """
    ranks = spec.ranks or tuple(len(shape) for shape in shapes)
    return replace(spec, ranks=ranks, inputs=spec.inputs or (tuple(names) if len(names) > 1 else ()))


def open_data(where: Any, spec: DataSpec | None = None, task: Task | None = None, *, check: bool = True) -> Data:
    """The data set at ``where``, prepared as ``spec`` says (its source apart).

    ``where``: a folder, a file, the name of a set, ``package.module:function``; a finished ``Data``; a mapping of
    arrays; a ``Dataset`` or ``DataLoader``, or several in a tuple ``(train, validation[, test])`` or by the names of
    their splits. Raises ``DataError``.
    """
    if isinstance(where, str | Path):
        return load_data(spec_of(where, spec), task, check=check)
    live = for_task(_with_source(spec, function=LIVE), task)
    return made(parts_from(where, live, "the data"), live, task, check=check)


def from_loaders(
    train: Any,
    validation: Any = None,
    test: Any = None,
    spec: DataSpec | None = None,
    task: Task | None = None,
    *,
    collate: Collate | None = None,
    check: bool = True,
) -> Data:
    """A data set of live objects: each a ``Dataset``, a ``DataLoader``, an ``IterableDataset``, a function that makes
    an iterator of batches, or a pair of arrays. ``collate`` makes batches of the samples of a ``Dataset``.

    What is missing is drawn: validation from the training samples, by the seed of ``spec``; the test split from the
    validation samples, half of them, where these are given, else from the training samples. Raises ``DataError`` where
    that is not possible, or where splits are known to share samples.
    """
    live = for_task(_with_source(spec, function=LIVE), task)
    given = {"train": train, "validation": validation, "test": test}
    return made(live_parts(given, live, "the data", collate=collate), live, task, check=check)


def _with_source(spec: DataSpec | None, **source: str) -> DataSpec:
    none = dict.fromkeys(SOURCES, "")
    return DataSpec(**source) if spec is None else replace(spec, **{**none, **source})  # type: ignore[arg-type]
