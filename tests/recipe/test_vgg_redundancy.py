"""``recipes/vgg_redundancy.toml``: its space, its student, and a small run on a folder of images of one's own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from compressor_plugins.redundancy import Redundancy
from compressor_plugins.redundancy.arms import arms_of
from compressor_plugins.redundancy.stages import pixels_dropped
from compressor_plugins.redundancy.tilings import NAMES
from PIL import Image

from compressor.engine.plan import Edit
from compressor.engine.resolve import resolve
from compressor.engine.sensitivity import Sensitivities
from compressor.engine.space import SearchSpace, build_space
from compressor.engine.survey import surveyor
from compressor.errors import RecipeError
from compressor.evidence import Evidence
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.network import Network
from compressor.graph.pt2 import write_pt2
from compressor.models import find
from compressor.recipe.model import Recipe
from compressor.recipe.read import read_recipe
from compressor.registry import PILOTS
from compressor.search.seeds import seeds_of

RECIPE = Path(__file__).parents[2] / "recipes" / "vgg_redundancy.toml"
MASK = "mask.input-mask.mask"


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    entry = find("vgg16-quarter-32")
    return capture(entry.build(), entry.input_shape, entry.name)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return read_recipe(RECIPE)


@pytest.fixture(scope="module")
def space(recipe: Recipe, network: Network) -> SearchSpace:
    return build_space(recipe.phases, surveyor(network), recipe.training)


def test_all_ten_tilings_are_probed_on_three_sets(recipe: Recipe) -> None:
    assert recipe.pilot is not None
    study = PILOTS.make(recipe.pilot.name, recipe.pilot.options)
    assert isinstance(study, Redundancy)
    arms = list(arms_of(study))
    assert {arm.tiling for arm in arms} == set(NAMES)
    assert {arm.set for arm in arms} == {1, 2, 3}
    assert len(arms) == 30 * study.repeats


def test_the_table_that_was_called_probe_is_still_read(recipe: Recipe, tmp_path: Path) -> None:
    older = RECIPE.read_text().replace('[pilot]\nname = "redundancy"\n\n[pilot.options]', "[probe]")
    (tmp_path / "older.toml").write_text(older)
    assert "[probe]" in older
    assert read_recipe(tmp_path / "older.toml") == recipe
    changed = read_recipe(tmp_path / "older.toml", ["probe.sets=2"]).pilot
    assert changed is not None
    assert changed.options["sets"] == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pilot.name=redundance", "there is no pilot study 'redundance'; did you mean 'redundancy'?"),
        ("pilot.options.set=2", "unknown option 'set'; did you mean 'sets'?"),
        ("probe.sets=0", "sets: expected 1 to 1000000; found 0"),
    ],
)
def test_a_study_that_cannot_be_is_said_in_one_line(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)):
        read_recipe(RECIPE, [override])


def test_all_ten_masks_of_the_document_are_tried(recipe: Recipe, space: SearchSpace) -> None:
    seeds, notes = seeds_of(recipe.search, space)
    assert notes == []
    masks = {str(values[MASK]) for _, values in seeds}
    assert len(masks) == recipe.search.trials == 10
    assert sorted(pixels_dropped(mask) for mask in masks) == [0.25] * 4 + [0.5] * 2 + [0.75] * 4


def test_the_student_lacks_two_of_the_wide_late_convolutions(space: SearchSpace, network: Network) -> None:
    images = torch.randn(8, 3, 32, 32)
    evidence = Evidence([(images, torch.arange(8))])
    plan = resolve(space.plan({MASK: "000101000"}), network, Sensitivities(), evidence)
    removed = [edit for edit in plan.edits if edit.plugin == "layer-removal"]
    assert len(removed) == 2
    assert all(re.match(r"conv[45]_[23]\.\.", edit.site) for edit in removed)
    assert [step.plugin for step in plan.phases[0].steps if isinstance(step, Edit)] == ["input-mask"]
    weights = 2 * 128 * 128 * 9
    assert weights / network_cost(network).parameter_count == pytest.approx(0.308, abs=1e-3)


def folder_of_images(path: Path) -> Path:
    """Laid out as Caltech-256: a folder per class, pictures of all sizes."""
    generator = torch.Generator().manual_seed(0)
    for number, name in enumerate(("001.ak47", "002.american-flag", "003.backpack")):
        (path / name).mkdir(parents=True)
        for index in range(16):
            side = 40 + 4 * (index % 3)
            pixels = torch.randint(0, 256, (side, side + 8, 3), generator=generator, dtype=torch.uint8)
            pixels[..., number] = 255
            Image.fromarray(pixels.numpy()).save(path / name / f"{number + 1:03}_{index + 1:04}.png")
    return path


def test_a_folder_of_ones_own_takes_three_lines(network: Network, tmp_path: Path) -> None:
    folder_of_images(tmp_path / "256_ObjectCategories")
    own = RECIPE.read_text()
    folder = 'folder = "256_ObjectCategories"\nsize = 32\nchannels = 3\n'
    own = re.sub(r'\nname = "cifar-10"\nlimit = .*\n', f"\n{folder}", own)
    own = own.replace('stand_in_for = "Caltech-256"\n', "")
    own = re.sub(r"\[\[search\.seeds\]\]\n.*\n", "", own)
    (tmp_path / "own.toml").write_text(own)
    write_pt2(network, tmp_path / "model.pt")
    small = {
        "data.validation": 9, "data.test": 9, "data.calibration": 8, "training.steps_per_epoch": 1,
        "training.batch": 8, "probe.tilings": '["DN", "GRI0"]', "pilot.options.sets": 1, "pilot.options.epochs": 1,
        "probe.error_tolerance": 1.0, "probe.loss_tolerance": 99.0, "phases.mask.training.epochs": 1,
        "phases.student.training.epochs": 1, "constraints.max_drop": 0.99, "search.trials": 1,
        "phases.student.plugins.layer-removal.policy": "each",
        "phases.student.plugins.layer-removal.values": '{ "conv4_3..relu4_3" = true, "conv5_3..relu5_3" = true }',
        "search.allow_untrained": "true",
        "search.jobs": 1, "measure.finalists": 1, "controls.scratch": "false", "controls.undistilled": "false",
    }  # fmt: skip
    sets = [part for key, value in small.items() for part in ("--set", f"{key}={value}")]
    words = ["optimize", "model.pt", "--recipe", "own.toml", "--out", "run", *sets]
    ran = subprocess.run(
        [sys.executable, "-m", "compressor.cli.main", *words],
        cwd=tmp_path, env={**os.environ, "COLUMNS": "80"}, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert ran.returncode in (0, 1), ran.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["probe"]["applies"] is True
    assert result["pilot"]["found"]["stand_in"] is result["probe"]["stand_in"] is False
    assert [stage["phase"] for stage in result["best"]["stages"]] == ["mask", "student"]
    assert result["best"]["params"] < 0.71 * result["baseline"]["params"]
    assert set(result["controls"]) == {"unchanged"}
    for part in ("Stage 1", "Stage 2", "none, trained on", "Stage 3", "teacher, longer"):
        assert part in ran.stdout, part
    assert "stand-in" not in ran.stdout
    assert (
        max(len(line) for line in ran.stdout.splitlines() if not re.match(r"(model|report|figures|again):", line)) <= 80
    )
    assert "[2/2]" in ran.stderr
    assert "stages 2 and 3 of 3: mask, student" in ran.stderr
