"""What an arm started from: the digests of the weights that it shares with others.

The same seed gives another training on another processor. Two arms may both say ``seed 2`` and yet have begun with
different networks; what lies between them is then not what the one did that the other did not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

Starts = Mapping[str, str]
"""File of a shared training → the beginning of its SHA-256."""
_noted: ContextVar[dict[str, str] | None] = ContextVar("_noted", default=None)


@contextmanager
def noted() -> Iterator[dict[str, str]]:
    """Fills with what is started from meanwhile."""
    starts = dict[str, str]()
    token = _noted.set(starts)
    try:
        yield starts
    finally:
        _noted.reset(token)


def note(file: Path) -> None:
    """These weights are started from."""
    starts = _noted.get()
    if starts is not None:
        with file.open("rb") as content:
            starts[file.name] = hashlib.file_digest(content, "sha256").hexdigest()[:12]


def agree(one: Starts, other: Starts) -> bool:
    """No training that both started from is another one in each."""
    return all(one[name] == other[name] for name in one.keys() & other.keys())
