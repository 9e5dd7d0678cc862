"""From a TOML file to a validated recipe, and back.

find the file → TOML → anchor relative paths → overrides → fill in what is left unsaid → types → meaning
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from compressor.errors import InputError, RecipeError
from compressor.files import write_atomic
from compressor.recipe.check import problems
from compressor.recipe.find import find_recipe
from compressor.recipe.limits import impossible
from compressor.recipe.messages import first_problem, place
from compressor.recipe.model import RECIPE, PilotSpec, Recipe
from compressor.recipe.overrides import DEEPEST, Location, apply_overrides, parse_override
from compressor.recipe.shorthand import expand, modern, now
from compressor.recipe.toml import to_toml
from compressor.registry import PILOTS

_LARGEST = 1 << 20
_PATHS = ("folder", "npz", "table")


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe at ``path`` (or the bundled one of that name) with ``overrides`` such as ``search.trials=5``.

    Relative paths in the file are relative to it, those in overrides to the working directory. Raises ``RecipeError``.
    """
    file = find_recipe(path)
    raw = modern(_anchor(_load(file), file.absolute().parent))
    given = [parse_override(text) for text in overrides]
    raw, places = apply_overrides(raw, [replace(override, path=now(override.path)) for override in given])
    return validate(_anchor(raw, Path.cwd()), str(file), places)


def read_text(text: str, source: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe that ``text`` (TOML) is, called ``source`` in messages. Raises ``RecipeError``."""
    given = [parse_override(override) for override in overrides]
    raw, places = apply_overrides(
        modern(tomllib.loads(text)), [replace(override, path=now(override.path)) for override in given]
    )
    return validate(_anchor(raw, Path.cwd()), source, places)


def validate(raw: Mapping[str, Any], source: str, places: Mapping[Location, str] | None = None) -> Recipe:
    """A recipe from plain data. ``places`` says which values came from which override, for messages."""
    expanded = expand(raw)
    for leaf, value in _leaves(expanded):
        if complaint := impossible(value):
            raise RecipeError(f"{_origin(source, leaf, places or {})}: {place(leaf, expanded)}{complaint}")
    try:
        recipe = RECIPE.validate_json(_as_json(expanded, source), strict=True)
    except ValidationError as error:
        location, message = first_problem(error.errors(), expanded)
        raise RecipeError(f"{_origin(source, location, places or {})}: {message}") from None
    except InputError as error:
        raise RecipeError(f"{_origin(source, (), places or {}, str(error))}: {error}") from None
    for location, message in problems(recipe):
        origin = _origin(source, location, places or {}, message)
        raise RecipeError(f"{origin}: {place(location, expanded)}{message}")
    return recipe if recipe.pilot is None else replace(recipe, pilot=_named(recipe.pilot))


def _named(pilot: PilotSpec) -> PilotSpec:
    return replace(pilot, name=PILOTS.meant(pilot.name))


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe with all its values; ``read_recipe`` gives an equal one."""
    write_atomic(path, to_toml(recipe_data(recipe)))


def recipe_data(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain data, all defaults filled in; what is None is left out."""
    data: dict[str, Any] = RECIPE.dump_python(recipe, exclude_none=True)
    for source in ("name", *_PATHS, "function"):
        if not data["data"].get(source):
            data["data"].pop(source, None)
    return data


def _load(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _LARGEST:
            raise RecipeError(f"{file}: larger than {_LARGEST >> 20} MiB; this is no recipe")
        return _not_too_deep(tomllib.loads(file.read_text(encoding="utf-8")))
    except UnicodeDecodeError:
        raise RecipeError(f"{file}: not a text file in UTF-8, so not TOML") from None
    except OSError as error:
        raise RecipeError(f"{file}: cannot be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{file}: {_syntax(str(error))}") from None
    except (RecursionError, ValueError) as error:  # nested too deep; a number of thousands of digits
        raise RecipeError(f"{file}: not TOML that can be read: {_short(error)}") from None


def _not_too_deep(raw: dict[str, Any]) -> dict[str, Any]:
    """``raw``, which everything that reads it may go through by recursion. Raises ``RecursionError``."""
    level: list[Any] = [raw]
    for _ in range(DEEPEST):
        level = [
            inner
            for node in level
            if isinstance(node, dict | list)
            for inner in (node.values() if isinstance(node, dict) else node)
        ]
    if level:
        raise RecursionError
    return raw


def _syntax(message: str) -> str:
    """``line 3, column 5: not TOML: …`` from what the parser says."""
    found = re.fullmatch(r"(.*) \(at (line \d+, column \d+|end of document)\)", message, re.DOTALL)
    what, where = (found[1], found[2]) if found else (message, "")
    return f"{where}: not TOML: {what}" if where else f"not TOML: {what}"


def _anchor(raw: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """``raw`` with the relative paths of ``[data]`` made absolute from ``folder``."""
    data = raw.get("data")
    if not isinstance(data, Mapping):
        return dict(raw)
    paths = {key: data[key] for key in _PATHS if isinstance(data.get(key), str) and data[key]}
    return {**raw, "data": {**data, **{key: str(folder / Path(path).expanduser()) for key, path in paths.items()}}}


def _as_json(raw: Mapping[str, Any], source: str) -> str:
    try:
        return json.dumps(raw)
    except TypeError:
        leaf = next(leaf for leaf, value in _leaves(raw) if not isinstance(value, bool | int | float | str))
        raise RecipeError(f"{source}: {'.'.join(map(str, leaf))}: dates and times have no place in a recipe") from None


def _leaves(node: Any, at: Location = ()) -> Iterator[tuple[Location, Any]]:
    """Every value that is no table and no list, and where it stands."""
    entries = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else None
    if entries is None:
        yield at, node
        return
    for key, value in entries:
        yield from _leaves(value, (*at, key))


def _short(error: Exception) -> str:
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error).partition(";")[0]


def _origin(source: str, location: Sequence[str | int], places: Mapping[Location, str], message: str = "") -> str:
    """Who said it: the override that put a value there (or in a table around it), else the file.

    Where only the table is known, as with the options of a plugin: the override inside it that the message names.
    """
    for depth in range(len(location), 0, -1):
        if tuple(location[:depth]) in places:
            return f"--set {places[tuple(location[:depth])]}"
    for inner, text in places.items():
        if inner[: len(location)] == tuple(location) and re.search(rf"\b{re.escape(str(inner[-1]))}\b", message):
            return f"--set {text}"
    return source
