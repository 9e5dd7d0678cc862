"""Recipes are read, completed and written; what is wrong with one is said in a single precise line."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from recipe_strategies import recipes

from compressor.errors import RecipeError
from compressor.recipe.find import bundled_recipes
from compressor.recipe.model import Recipe
from compressor.recipe.read import read_recipe, write_recipe
from compressor.task import make_task
from compressor.task.agreement import Agreement
from compressor.train.spec import TrainingSpec

GOOD = """
objectives = ["quality", "size"]
[data]
name = "digits"
[training]
epochs = 4
lr = 0.01
augmentation = { shift = 2 }
[[phases]]
name = "first"
[[phases.plugins]]
name = "binarize"
[phases.training]
epochs = 1
[phases.training.augmentation]
flip = true
[[phases]]
name = "second"
[[phases.plugins]]
name = "layer-removal"
policy = "each"
[constraints]
max_drop = 0.02
[search]
trials = 5
[[search.seeds]]
first.binarize.count = 2
"second.layer-removal" = true
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "r.toml"
    path.write_text(GOOD)
    return path


def test_a_recipe_is_read(file: Path) -> None:
    recipe = read_recipe(file)
    assert recipe.data.name == "digits"
    assert recipe.objectives == ("quality", "size")
    assert recipe.search.seeds == ({"first.binarize.count": 2, "second.layer-removal": True},)


def test_a_phase_says_only_what_differs(file: Path) -> None:
    first, second = read_recipe(file).phases
    assert first.training is not None
    assert (first.training.epochs, first.training.lr) == (1, 0.01)
    assert (first.training.augmentation.shift, first.training.augmentation.flip) == (2, True)
    assert second.training is None


def test_overriding_the_training_reaches_every_phase(file: Path) -> None:
    recipe = read_recipe(file, ["training.lr=0.5", "phases.second.training.epochs=7"])
    assert [phase.training and phase.training.lr for phase in recipe.phases] == [0.5, 0.5]
    assert [phase.training and phase.training.epochs for phase in recipe.phases] == [1, 7]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=50)
@given(recipes)
def test_what_is_written_reads_back_equal(recipe: Recipe) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_recipe(recipe, Path(folder) / "r.toml")
        assert read_recipe(Path(folder) / "r.toml") == recipe


def test_the_recipe_as_run_states_its_defaults(file: Path) -> None:
    write_recipe(read_recipe(file), file)
    text = file.read_text()
    assert 'sampler = "tpe"' in text
    assert "weight_decay = 0.0" in text


def test_relative_paths_are_anchored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    path = tmp_path / "r.toml"
    path.write_text(GOOD.replace('name = "digits"', 'folder = "pictures"'))
    assert read_recipe(path).data.folder == str(tmp_path / "pictures")
    assert read_recipe(path, ["data.folder=others"]).data.folder == str(elsewhere / "others")


BAD = [
    ("epochs = 4", "epoch = 4", r"\[training\]: unknown key 'epoch'; did you mean 'epochs'\? \(known: .*batch"),
    ("epochs = 4", "epochs = 4.5", r"\[training\] epochs: expected a whole number; found 4\.5"),
    ("epochs = 4", "epochs = -1", r"\[training\] epochs: expected at least 0; found -1"),
    ("lr = 0.01", 'lr = "fast"', r'\[training\] lr: expected a number; found "fast"'),
    ("shift = 2", "shfit = 2", r"\[training\.augmentation\]: unknown key 'shfit'; did you mean 'shift'\?"),
    (
        'policy = "each"',
        'policy = "eahc"',
        r"\[\[phases\.plugins\]\] \(in phases 'second', plugins 'layer-removal'\) policy: "
        r"expected one of 'spread', 'threshold', 'mixed', 'each', 'all'; found \"eahc\"; did you mean 'each'\?$",
    ),
    (
        'name = "binarize"',
        'name = "binarise"',
        r"\[\[phases\.plugins\]\] \(in phases 'first', plugins 'binarise'\).*no plugin 'binarise'; "
        r"did you mean 'binarize'\?",
    ),
    (
        'name = "binarize"',
        'name = "binarize"\noptions = { activation = 1 }',
        r"plugin 'binarize': unknown option 'activation'; did you mean 'activations'\?",
    ),
    ('name = "second"', "", r"\[\[phases\]\] \(in phases 1\): key 'name' is missing"),
    (
        'name = "second"',
        'name = "first"',
        r"\[phases\]?.*2 phases are called 'first'|phases: 2 phases are called 'first'",
    ),
    ("[constraints]", "[constraint]", r": unknown key 'constraint'; did you mean 'constraints'\?"),
    (
        "max_drop = 0.02",
        "max_drop = 2.0",
        r"\[constraints\] max_drop: expected a share .*were 2 points meant \(0\.02\)\?",
    ),
    ("max_drop = 0.02", "max_drop = 1", r"was one point meant \(0\.01\)\?"),
    ("max_drop = 0.02", "max_size = 50", r"max_size: .*50 times as much; were 50 % meant \(0\.5\)\?"),
    ("epochs = 4", "label_smoothing = 10", r"label_smoothing: .*were 10 % meant \(0\.1\)\?"),
    ("trials = 5", "trials = 0", r"\[search\] trials: 0 means as many as the budget allows, and there is none"),
    ("trials = 5", "trials = 2024-01-01", r"search\.trials: dates and times have no place"),
    ("trials = 5", "trials = ", r"line \d+, column \d+: not TOML: Invalid value"),
    ('name = "digits"', "", r"data: give exactly one of name, folder, npz, table, function"),
    ('["quality", "size"]', '["quality", "speed"]', r"objectives\.1: expected one of 'quality', 'size', 'latency'"),
    ('["quality", "size"]', "3", r"objectives: expected a list; found 3"),
    (
        "first.binarize.count = 2",
        "first.binarise.count = 2",
        r"\[\[search\.seeds\]\] \(in seeds 0\): 'first\.binarise\.count' is no parameter of a plugin here; "
        r"did you mean 'first\.binarize'",
    ),
    ("[training]", "[other]\n[training]", r"unknown key 'other'"),
]


@pytest.mark.parametrize(("old", "new", "message"), BAD, ids=[new[:30] for _, new, _ in BAD])
def test_what_is_wrong_is_said_in_one_line(file: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    file.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(RecipeError, match=message) as caught:
        read_recipe(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=2", r"^--set training\.epoch=2: \[training\]: unknown key 'epoch'; did you mean 'epochs'"),
        ("search.sampler=tep", r"^--set search\.sampler=tep: \[search\] sampler: .*did you mean 'tpe'"),
        ("phases.first.rounds=0", r"^--set phases\.first\.rounds=0: .*expected at least 1"),
        ("phases.third.rounds=0", r"^--set phases\.third\.rounds=0: there is no entry 'third'"),
        ("constraints=3", r"^--set constraints=3: constraints: expected a table; found 3"),
        ("data.limit=-3", r"^--set data\.limit=-3: data\.limit: -3 is negative"),
        (
            "phases.first.plugins.binarize.options.activations=maybe",
            r"^--set phases\.first\.plugins\.binarize\.options\.activations=maybe: .*plugin 'binarize'",
        ),
        (
            "phases.first.plugins.binarize.options.activation=true",
            r"^--set phases\.first\.plugins\.binarize\.options\.activation=true: .*unknown option 'activation'",
        ),
    ],
)
def test_an_override_is_named_as_the_culprit(file: Path, override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_recipe(file, [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.seed=4294967296", r"\[search\] seed: expected at most 4,294,967,295; found 4294967296"),
        (f"search.seed={10**30}", r"\[search\] seed: expected a smaller whole number"),
        ("search.trials=-1", r"\[search\] trials: expected at least 0; found -1"),
        ("search.jobs=1000000", r"\[search\] jobs: expected at most 1,024; found 1000000"),
        ("search.timeout=inf", r"\[search\] timeout: expected a finite number; found inf"),
        ("training.lr=inf", r"\[training\] lr: expected a finite number; found inf"),
        ("training.lr=0.0", r"\[training\] lr: expected more than 0; found 0"),
        ("training.momentum=1.0", r"\[training\] momentum: expected less than 1; found 1"),
        ("training.epochs=1000000000", r"\[training\] epochs: expected at most"),
        ("training.augmentation.shift=-3", r"\[training\.augmentation\] shift: expected at least 0; found -3"),
        ("training.distillation.temperature=nan", r"temperature: expected a finite number; found nan"),
        ("measure.batch=0", r"\[measure\] batch: expected at least 1; found 0"),
        ("data.seed=-1", r"\[data\] seed: expected at least 0; found -1"),
        ("phases.first.rounds=10000000", r"rounds: expected at most"),
        ("search.seeds.0={'first.binarize.x' = nan}", r"expected a finite number; found nan"),
        (f"search.trials={'9' * 5000}", r"\[search\] trials: expected a whole number; found "),
    ],
)
def test_every_number_has_a_range(file: Path, override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        read_recipe(file, [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [f"a = {'9' * 5000}", f"a = {'[' * 5000}"])
def test_toml_that_no_parser_reads_is_said_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(RecipeError, match="not TOML"):
        read_recipe(tmp_path / "r.toml")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is a folder"):
        read_recipe(tmp_path)
    with pytest.raises(RecipeError, match="no such file"):
        read_recipe(tmp_path / "absent.toml")
    with pytest.raises(RecipeError, match="no bundled recipe 'quikstart'; did you mean 'quickstart'"):
        read_recipe("quikstart")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="not a text file"):
        read_recipe(tmp_path / "binary.toml")
    (tmp_path / "big.toml").write_bytes(b"#" * (1 << 21))
    with pytest.raises(RecipeError, match="larger than 1 MiB"):
        read_recipe(tmp_path / "big.toml")


@pytest.mark.parametrize("name", sorted(bundled_recipes()))
def test_every_bundled_recipe_is_valid(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.phases
    assert recipe.training != replace(TrainingSpec(), epochs=0)


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 5000 + "]" * 5000, ".".join(["a"] * 5000) + " = 1", "a = " + "9" * 5000]
)
def test_what_is_too_deep_or_too_long_for_any_reader_is_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "r.toml"
    file.write_text(text)
    with pytest.raises(RecipeError, match="not TOML that can be read") as caught:
        read_recipe(file)
    assert "\n" not in str(caught.value)
    with pytest.raises(RecipeError, match="--set"):
        read_recipe("quickstart", [text.replace(" ", "")])


def test_a_pipe_is_no_recipe_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "r.toml")
    with pytest.raises(RecipeError, match="is a pipe or a device"):
        read_recipe(tmp_path / "r.toml")


def test_recipes_of_old_still_say_what_they_said(file: Path) -> None:
    file.write_text(GOOD)
    recipe = read_recipe(file)
    file.write_text(GOOD.replace("max_drop", "max_accuracy_drop").replace('"quality"', '"accuracy"'))
    assert read_recipe(file) == recipe
    assert read_recipe(file, ["constraints.max_accuracy_drop=0.5"]).constraints.max_drop == 0.5


def test_a_task_is_named_in_one_word_or_in_a_table(file: Path) -> None:
    file.write_text('task = "regression"\n' + GOOD)
    assert read_recipe(file).task.name == "regression"
    assert read_recipe(file, ["task.name=agreement", "task.options.like=classification"]).task.name == "agreement"
    by_output = read_recipe(file, ["task.name=agreement", "task.options.like.scores=classification"])
    assert make_task(by_output.task) == Agreement(like={"scores": "classification"})
