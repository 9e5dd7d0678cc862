"""One small real run, measured once, for the tests with real processes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from compressor.data.load import load_data
from compressor.engine.baseline import measure_baseline, save_baseline
from compressor.graph.capture import capture
from compressor.recipe.read import read_recipe
from compressor.search.run_folder import RunFolder

RECIPE = """
[data]
name = "digits"
limit = 200
validation = 100
calibration = 64
[training]
epochs = 1
function = "search_support:waiting_training"
[[phases]]
name = "p"
[[phases.plugins]]
name = "binarize"
[constraints]
max_drop = 0.99
[search]
trials = 2
[measure]
finalists = 1
"""


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run folder with a measured baseline and no trial."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("made")
    (folder / "r.toml").write_text(RECIPE)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))
    recipe = read_recipe(folder / "r.toml")
    network = capture(module, (1, 8, 8), "a test")
    network.notes += ("its weights are folded",)
    run = RunFolder.create(folder / "run", recipe, network)
    data = load_data(recipe.data)
    save_baseline(measure_baseline(run.model(), data), run.baseline)
    return run


@pytest.fixture
def run(made: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of it."""
    shutil.copytree(made.path, tmp_path / "run")
    return RunFolder.open(tmp_path / "run")


@pytest.fixture
def hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """While this file exists the training goes on; ``reached`` beside it appears when one has begun."""
    path = tmp_path / "hold"
    monkeypatch.setenv("HOLD", str(path))
    return path
