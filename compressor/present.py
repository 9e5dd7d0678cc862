"""Objects that live in this process alone: a recipe cannot name them, and holds a mark in their place.

Whoever calls the toolkit from Python gives datasets and tasks that exist nowhere else. They are kept here while a run
goes on; processes that this one forks have them too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from compressor.errors import InputError

LIVE: Final = "(live objects)"
"""Stands where a recipe would name something that can be imported or read."""

_here: dict[str, Any] = {}


@contextmanager
def present(**objects: Any) -> Iterator[None]:
    """The objects by their kind (``data``, ``task``) meanwhile; one that is None is none."""
    before = dict(_here)
    _here.update({kind: value for kind, value in objects.items() if value is not None})
    try:
        yield
    finally:
        _here.clear()
        _here.update(before)


def living(kind: str) -> Any:
    """The object of this kind. Raises ``InputError`` where there is none."""
    if kind not in _here:
        raise InputError(
            f"the {kind} of this run were objects of a Python program, and are not in its folder: go on with "
            f"compressor.resume(folder, {kind}=…) from such a program"
        )
    return _here[kind]
