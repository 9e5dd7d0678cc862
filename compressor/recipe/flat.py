"""Nested plain data as one level of names and values: what a person or a tracker reads line by line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


def flat_items(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """``phases[0].plugins[1].name`` and what is there, for every value that is no table."""
    parts: Iterable[tuple[str, Any]]
    if isinstance(value, dict):
        parts = ((f"{path}.{name}" if path else str(name), inner) for name, inner in value.items())
    elif isinstance(value, list | tuple) and any(isinstance(inner, dict) for inner in value):
        parts = ((f"{path}[{number}]", inner) for number, inner in enumerate(value))
    else:
        yield path, value
        return
    for name, inner in parts:
        yield from flat_items(inner, name)
