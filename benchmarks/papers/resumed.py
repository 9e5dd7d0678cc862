"""Trainings of an arm that was cut off go on from their checkpoints; what they took before counts as the arm's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from compressor.data.dataset import Data
from compressor.graph.network import Network
from compressor.train import fit as toolkit
from compressor.train.history import History
from compressor.train.spec import TrainingSpec


@dataclass
class Attempt:
    """An arm under way: where its checkpoints are, and the seconds that earlier attempts trained."""

    folder: Path
    seconds_before: float = 0.0


_under_way: ContextVar[Attempt | None] = ContextVar("_under_way", default=None)


@contextmanager
def attempt(folder: Path) -> Iterator[Attempt]:
    """Meanwhile ``fit`` keeps its checkpoints in ``folder``, which is gone afterwards unless this is cut off."""
    begun = Attempt(folder)
    token = _under_way.set(begun)
    try:
        yield begun
    finally:
        _under_way.reset(token)
    shutil.rmtree(folder, ignore_errors=True)


def fit(network: Network, data: Data, spec: TrainingSpec, *, teacher: Network | None = None, seed: int = 0) -> History:
    """The toolkit's, gone on with where an earlier attempt at the arm was cut off."""
    history = toolkit.fit(network, data, spec, teacher=teacher, seed=seed, checkpoints=checkpoints())
    if (under_way := _under_way.get()) is not None:
        under_way.seconds_before += history.seconds_before
    return history


def checkpoints() -> Path | None:
    """Of the arm under way, where there is one."""
    under_way = _under_way.get()
    return None if under_way is None else under_way.folder
