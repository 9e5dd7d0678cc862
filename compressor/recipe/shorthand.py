"""What a recipe leaves unsaid, made explicit before validation; plain data in, plain data out."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any


def expand(raw: Mapping[str, Any]) -> dict[str, Any]:
    """``raw`` with every phase's training completed from ``[training]``, and seeds as flat tables.

    Whatever has the wrong form is left for validation to complain about.
    """
    result = copy.deepcopy(dict(raw))
    training = result.get("training")
    for phase in _phases(result):
        own = phase.get("training")
        if isinstance(own, Mapping) and isinstance(training, Mapping):
            phase["training"] = merged(training, own)
    search = result.get("search")
    if isinstance(search, dict) and isinstance(search.get("seeds"), list):
        search["seeds"] = [flat(seed) if isinstance(seed, Mapping) else seed for seed in search["seeds"]]
    return result


def merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``own`` in their place, table by table."""
    result = dict(base)
    for key, value in own.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return result


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, keys joined by dots: ``{"a": {"b": 1}}`` is ``{"a.b": 1}``."""
    result: dict[str, Any] = {}
    for key, value in table.items():
        result.update(flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value})
    return result


def _phases(table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every phase, those inside loops too."""
    for phase in _tables(table.get("phases")):
        yield phase
        yield from _phases(phase)


def _tables(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
