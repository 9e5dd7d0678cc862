"""Recipes as they were written before there were tasks: verbatim from then, and every key that there was."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from compressor.recipe.model import Recipe
from compressor.recipe.read import read_recipe, write_recipe

OLD = Path(__file__).parent / "old"
RENAMED = {"max_accuracy_drop": "max_drop"}


@pytest.mark.parametrize("file", sorted(OLD.glob("*.toml")), ids=lambda file: file.stem)
def test_what_an_old_recipe_says_is_what_is_read(file: Path, tmp_path: Path) -> None:
    """Every value arrives where it belongs, and the recipe written out again, by today's names, is the same."""
    said, recipe = tomllib.loads(file.read_text()), read_recipe(file)
    for path, value in leaves(said):
        assert found(recipe, path) == value, path
    write_recipe(recipe, tmp_path / "again.toml")
    assert read_recipe(tmp_path / "again.toml") == recipe
    assert "accuracy" not in (tmp_path / "again.toml").read_text()


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from leaves(part, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for place, part in enumerate(value):
            yield from leaves(part, (*path, place))
    else:
        yield path, ["quality" if part == "accuracy" else part for part in value] if path == ("objectives",) else value


def found(recipe: Recipe, path: tuple[str | int, ...]) -> Any:
    if path[:2] == ("search", "seeds"):
        return recipe.search.seeds[int(path[2])][".".join(map(str, path[3:]))]
    value: Any = recipe
    for key in ("pilot", "options", *path[1:]) if path[0] == "probe" else path:
        if isinstance(value, Mapping):
            value = value[key]
        elif isinstance(value, tuple):
            value = value[int(key)]
        else:
            value = getattr(value, RENAMED.get(str(key), str(key)))
    return list(value) if isinstance(value, tuple) else value
