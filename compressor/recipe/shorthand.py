"""What a recipe leaves unsaid, made explicit before validation; plain data in, plain data out."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

_LIMIT_TABLES = ("constraints", "gate", "limits")
_NOW = {"max_accuracy_drop": "max_drop"}
"""Names of old, and what they are called now."""
_PILOT = "probe"
"""What ``[pilot]`` was called, when its options stood in the table itself."""


def now(path: tuple[str, ...]) -> tuple[str, ...]:
    """The place of a key, by the names it has now."""
    if path[0] == _PILOT and len(path) > 1:
        return "pilot", "options", *path[1:]
    return tuple(_NOW.get(part, part) for part in path)


def modern(raw: Mapping[str, Any]) -> dict[str, Any]:
    """``raw`` with names as they are now: not ``max_accuracy_drop`` but ``max_drop``, not ``accuracy`` but ``quality``.

    ``task = "segmentation"`` is short for a table with that name, and ``[probe]`` for the options of ``[pilot]``.
    """
    result = copy.deepcopy(dict(raw))
    if isinstance(result.get(_PILOT), dict) and "pilot" not in result:
        result["pilot"] = {"options": result.pop(_PILOT)}
    if isinstance(result.get("task"), str):
        result["task"] = {"name": result["task"]}
    if isinstance(result.get("objectives"), list):
        result["objectives"] = ["quality" if name == "accuracy" else name for name in result["objectives"]]
    for table in (result, *_phases(result)):
        for name in _LIMIT_TABLES:
            _renamed(table.get(name))
    return result


def expand(raw: Mapping[str, Any]) -> dict[str, Any]:
    """``raw`` with every phase's training completed from ``[training]``, and seeds as flat tables.

    Whatever has the wrong form is left for validation to complain about.
    """
    result = modern(raw)
    training = result.get("training")
    for phase in _phases(result):
        own = phase.get("training")
        if isinstance(own, Mapping) and isinstance(training, Mapping):
            phase["training"] = merged(training, own)
    search = result.get("search")
    if isinstance(search, dict) and isinstance(search.get("seeds"), list):
        search["seeds"] = [flat(seed) if isinstance(seed, Mapping) else seed for seed in search["seeds"]]
    return result


def _renamed(table: Any) -> None:
    for old, new in _NOW.items():
        if isinstance(table, dict) and old in table and new not in table:
            table[new] = table.pop(old)


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
