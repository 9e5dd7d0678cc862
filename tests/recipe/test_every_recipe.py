"""Every recipe in ``recipes/``: the commands in its header are commands, and it can search the network they name."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from compressor.cli.app import app
from compressor.engine.space import build_space
from compressor.engine.survey import surveyor
from compressor.graph.capture import capture
from compressor.models import find
from compressor.recipe.read import read_recipe
from compressor.search.seeds import seeds_of

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
every_recipe = pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)


def header(path: Path) -> str:
    """The comment a recipe begins with, without its marks; continued lines joined."""
    lines = [line for line in path.read_text(encoding="utf-8").split("\n\n")[0].splitlines() if line.startswith("#")]
    text = "\n".join(line.lstrip("#").strip() for line in lines)
    return text.replace("\\\n", " ")


def commands(path: Path) -> list[list[str]]:
    return [shlex.split(line)[1:] for line in header(path).splitlines() if re.match(r"compressor \w", line)]


def parsed(words: list[str]) -> dict[str, Any]:
    """The values of a command's options as the command line reads them."""
    group: Any = typer.main.get_command(app)
    command = group.commands[words[0]]
    values: dict[str, Any] = command.make_context(words[0], list(words[1:])).params
    return values


def model_of(path: Path) -> str:
    """The network of the zoo that the header trains, or optimizes as it is."""
    found = commands(path)
    name: str = next((words for words in found if words[0] == "train"), found[0])[1]
    return name


@every_recipe
def test_its_commands_are_understood_and_follow_each_other(path: Path) -> None:
    trained = [parsed(words) for words in commands(path) if words[0] == "train"]
    optimized = [words for words in commands(path) if words[0] == "optimize"]
    assert optimized, "the header shows no command that uses the recipe"
    for words in optimized:
        assert parsed(words)["recipe"] == f"recipes/{path.name}"
    if trained:
        assert optimized[0][1] == str(trained[0]["out_file"])


@every_recipe
def test_its_network_has_the_sites_it_names_and_its_known_settings_fit(path: Path) -> None:
    recipe, entry = read_recipe(path), find(model_of(path))
    space = build_space(recipe.phases, surveyor(capture(entry.build(), entry.input_shape, entry.name)), recipe.training)
    assert space.notes == ()
    seeds, notes = seeds_of(recipe.search, space)
    assert notes == []
    assert len(seeds) >= len(recipe.search.seeds)


@every_recipe
def test_it_is_trained_on_the_data_it_is_searched_with(path: Path) -> None:
    data = [words[words.index("--data") + 1] for words in commands(path) if words[0] == "train"]
    assert set(data) <= {read_recipe(path).data.name}
