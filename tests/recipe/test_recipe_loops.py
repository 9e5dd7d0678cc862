"""Loops in a recipe: phases inside a phase, with rounds, a stop rule and limits of their own."""

from __future__ import annotations

import tomllib
from pathlib import Path

import jsonschema
import pytest

from compressor.engine.candidate import Constraints
from compressor.engine.plan import Stop
from compressor.errors import RecipeError
from compressor.recipe.read import read_recipe, write_recipe
from compressor.recipe.schema import keys_at, recipe_schema

LOOP = """
[data]
name = "digits"
[training]
epochs = 4
lr = 0.01
[[phases]]
name = "loop"
rounds = 3
stop = { min_gain = 0.002 }
[[phases.phases]]
name = "grow"
training = { epochs = 2 }
limits = { max_latency = 1.5 }
[[phases.phases.plugins]]
name = "self-grow"
[[phases.phases]]
name = "remove"
timed = true
[[phases.phases.plugins]]
name = "layer-removal"
policy = "threshold"
values = { tau = 0.5 }
[[search.seeds]]
loop.grow.self-grow.count = 2
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "r.toml"
    path.write_text(LOOP)
    return path


def test_a_loop_is_read_written_and_read_again(file: Path, tmp_path: Path) -> None:
    recipe = read_recipe(file)
    (loop,) = recipe.phases
    grow, remove = loop.phases
    assert (loop.rounds, loop.stop) == (3, Stop(0.002))
    assert grow.training is not None
    assert (grow.training.epochs, grow.training.lr) == (2, 0.01), "the rest comes from [training]"
    assert grow.limits == Constraints(max_latency=1.5)
    assert (remove.training, remove.timed, remove.plugins[0].policy) == (None, True, "threshold")
    assert recipe.search.seeds == ({"loop.grow.self-grow.count": 2},)
    write_recipe(recipe, tmp_path / "again.toml")
    assert read_recipe(tmp_path / "again.toml") == recipe


def test_overrides_reach_the_phases_of_a_loop(file: Path) -> None:
    recipe = read_recipe(
        file,
        ["phases.loop.phases.grow.training.epochs=7", "phases.loop.phases.remove.plugins.layer-removal.policy=all"],
    )
    grow, remove = recipe.phases[0].phases
    assert grow.training is not None
    assert (grow.training.epochs, remove.plugins[0].policy) == (7, "all")
    with pytest.raises(RecipeError, match=r"phases\.loop\.phases\.gorw\.rounds=1: there is no entry 'gorw'; did you"):
        read_recipe(file, ["phases.loop.phases.gorw.rounds=1"])


INNER = """[[phases.phases.phases]]
name = "deep"
[[phases.phases]]
name = "remove"
"""
BAD = [
    ("rounds = 3", "rounds = 3\nrewind = 'initial'", r"\(in phases 'loop'\) rewind: a loop has phases in its place"),
    ("rounds = 3", "rounds = 3\ntraining = { epochs = 1 }", r"'loop'\) training: a loop has phases in its place"),
    ("rounds = 3", "rounds = 3\nlimits = { max_size = 1.0 }", r"'loop'\) limits: a loop has phases in its place"),
    ("min_gain = 0.002", "min_gain = 2.0", r"\[phases\.stop\] \(in phases 'loop'\) min_gain: expected a share of 1"),
    ("min_gain = 0.002", "gain = 0.002", r"\[phases\.stop\] .*unknown key 'gain'"),
    (
        "max_latency = 1.5",
        "max_latency = -1.0",
        r"\[phases\.phases\.limits\] \(in phases 'loop', phases 'grow'\) max_lat",
    ),
    ("max_latency = 1.5", "max_drop = 0.1", r"max_drop: edits are held to size and time"),
    ('name = "remove"', 'name = "grow"', r"2 phases are called 'grow'"),
    ('name = "remove"', 'name = "re.move"', r"name: expected a name without dots"),
    ("timed = true", "timde = true", r"\[\[phases\.phases\]\] .*unknown key 'timde'; did you mean 'timed'"),
    ('[[phases.phases]]\nname = "remove"\n', INNER, r"a loop inside a loop is one too deep"),
    ("loop.grow.self-grow.count", "grow.self-grow.count", r"'grow\.self-grow\.count' is no parameter of a plugin here"),
]


@pytest.mark.parametrize(("old", "new", "message"), BAD, ids=[message for _, _, message in BAD])
def test_what_is_wrong_in_a_loop_is_said_in_one_line(file: Path, old: str, new: str, message: str) -> None:
    assert old in LOOP
    file.write_text(LOOP.replace(old, new, 1))
    with pytest.raises(RecipeError, match=message) as caught:
        read_recipe(file)
    assert "\n" not in str(caught.value)


def test_the_schema_knows_loops() -> None:
    jsonschema.validate(tomllib.loads(LOOP), recipe_schema())
    assert keys_at(("phases", 0, "phases", 1, "plugins", 0)) == keys_at(("phases", 0, "plugins", 0))
    wrong = tomllib.loads(LOOP.replace("timed", "timde"))
    with pytest.raises(jsonschema.ValidationError, match="timde"):
        jsonschema.validate(wrong, recipe_schema())
