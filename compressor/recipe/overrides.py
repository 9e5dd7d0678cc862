"""``--set a.b=value``: one value of a recipe replaced on the command line.

The key is a TOML key; an entry of a list is named by its number (from 0) or by its ``name``:
``phases.0.training.epochs=2`` and ``phases.compress.training.epochs=2``. The value is a TOML value; what is none is
text, so ``search.sampler=random`` needs no quotes.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compressor.data.spec import SOURCES
from compressor.errors import RecipeError, did_you_mean
from compressor.recipe.toml import to_value

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Override:
    """One replacement: where, what, and how the user wrote it."""

    path: tuple[str, ...]
    value: Any
    text: str


DEEPEST = 32
"""Tables within tables; no recipe has as many."""


def parse_override(text: str) -> Override:
    """Read ``key=value``. Raises ``RecipeError``."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip() or "\n" in text:
        raise RecipeError(f"--set {text}: expected KEY=VALUE, as in --set search.trials=10")
    path, plain = _parse(key, value.strip())
    if path is None:
        path, plain = _parse(key, to_value(value.strip()))
    if path is None:
        raise RecipeError(f"--set {text}: {key.strip()!r} is not a key, as in search.trials")
    return Override(path, plain, text)


def _parse(key: str, value: str) -> tuple[tuple[str, ...] | None, Any]:
    """The key's parts and the value, which may itself be a table; ``(None, None)`` where this is not TOML."""
    try:
        depth, node = _parts(key), tomllib.loads(f"{key} = {value}")
    except (ValueError, RecursionError):  # no TOML, a number of thousands of digits, nested too deep
        return None, None
    if len(depth) > DEEPEST:
        return None, None
    for part in depth:
        node = node[part]
    return depth, node


def _parts(key: str) -> tuple[str, ...]:
    parts: list[str] = []
    node: Any = tomllib.loads(f"{key} = 0")
    while isinstance(node, dict):
        ((part, node),) = node.items()
        parts.append(part)
    return tuple(parts)


def apply_overrides(
    raw: Mapping[str, Any], overrides: Sequence[Override]
) -> tuple[dict[str, Any], dict[Location, str]]:
    """``raw`` with every override put in, and where each one went. Raises ``RecipeError`` for an entry not there.

    Another source of data takes the place of the recipe's own.
    """
    result = copy.deepcopy(dict(raw))
    places: dict[Location, str] = {}
    for override in overrides:
        places[_put(result, override)] = override.text
    data = result.get("data")
    if isinstance(data, dict):
        given = [key for key in SOURCES if ("data", key) in places and data.get(key)]
        for key in SOURCES:
            if given and ("data", key) not in places:
                data.pop(key, None)
    return result, places


def _put(root: dict[str, Any], override: Override) -> Location:
    node: Any = root
    location: list[str | int] = []
    for part in override.path[:-1]:
        step = _step(node, part, override)
        location.append(step)
        node = node.setdefault(part, {}) if isinstance(node, dict) else node[step]
    last = _step(node, override.path[-1], override)
    node[last] = override.value
    return (*location, last)


def _step(node: Any, part: str, override: Override) -> str | int:
    """``part`` as a key of a table or an index of a list."""
    if isinstance(node, dict):
        return part
    if not isinstance(node, list):
        raise RecipeError(f"--set {override.text}: {part!r} is no key here: the value before it is {to_value(node)}")
    names = {entry["name"]: index for index, entry in enumerate(node) if isinstance(entry, dict) and "name" in entry}
    if part in names:
        return names[part]
    if part.isascii() and part.isdigit() and int(part) < len(node):
        return int(part)
    known = [*map(str, range(len(node))), *map(str, names)]
    raise RecipeError(f"--set {override.text}: there is no entry {part!r}{did_you_mean(part, known)}")
