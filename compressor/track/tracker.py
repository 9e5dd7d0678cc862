"""What a tracker is told of a run: where it is, every trial as it ends, and how it ended. All of it plain data."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

from compressor.errors import InputError
from compressor.foreign import described

KNOWN = {"mlflow": ("compressor.track.mlflow", "MlflowTracker", "pip install 'compressor[mlflow]'")}
"""Module, class and where to get it from, by the name that ``--tracker`` takes."""


@dataclass(frozen=True)
class RunStarted:
    """A run begins or goes on. ``folder`` is what it is known by; ``params`` are the keys of its recipe as text."""

    folder: Path
    source: str
    params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TrialRecord:
    """A trial that ended. ``params`` are its edits as text; ``metrics`` are finite, by the names of ``result.json``."""

    number: int
    digest: str
    about: str
    status: str
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunEnded:
    """A run is over, or (``interrupted``) to be gone on with; ``metrics`` are those of the best candidate."""

    interrupted: bool
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


class Tracker(Protocol):
    """Made without arguments; told in this order, on one thread of its own. What it raises ends the tracking alone."""

    def begin(self, run: RunStarted) -> None: ...

    def trial(self, trial: TrialRecord) -> None: ...

    def end(self, run: RunEnded) -> None: ...


def tracker_named(name: str) -> Tracker:
    """A tracker by its name, or one's own as ``package.module:Class``. Raises ``InputError`` where there is none."""
    module, _, attribute = name.partition(":")
    hint = ""
    if not attribute:
        if name not in KNOWN:
            known = ", ".join(KNOWN)
            raise InputError(f"--tracker {name[:60]}: there is {known}, or one of your own as package.module:Class")
        module, attribute, hint = KNOWN[name]
    try:
        return cast(Tracker, getattr(importlib.import_module(module), attribute)())
    except ModuleNotFoundError as error:
        raise InputError(f"--tracker {name}: {error}{f'; {hint}' if hint else ''}") from None
    except Exception as error:  # anybody's code
        raise InputError(f"--tracker {name}: {described(error)}") from None
