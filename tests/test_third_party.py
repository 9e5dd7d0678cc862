"""A stranger's plugin: a package of its own, installed by pip, found, listed, checked; and the page that shows it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from compressor.testing import check_plugin, small_networks

PACKAGE = Path(__file__).parent / "third_party_plugin"
PAGE = Path(__file__).parents[1] / "docs" / "write_a_plugin.md"
STEPS = PAGE.with_name("two_plugins.md")


def run(site_packages: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site_packages), "OMP_NUM_THREADS": "1", "COMPRESSOR_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, "-m", "compressor.cli.main", *command], env=environment, capture_output=True, text=True
    )


def test_it_is_listed_with_its_distribution_and_options(site_packages: Path) -> None:
    listed = {entry["name"]: entry for entry in json.loads(run(site_packages, "plugins", "--json").stdout)}
    assert {"binarize", "layer-removal", "depthwise-separable"} <= set(listed)
    entry = listed["depthwise-separable"]
    assert entry["working"]
    assert (entry["distribution"], entry["version"]) == ("compressor-depthwise", "0.1.0")
    assert entry["options"] == [{"name": "min_inputs", "type": "int", "default": 8}]


def test_it_passes_the_conformance_kit(site_packages: Path) -> None:
    checked = run(site_packages, "plugins", "check", "depthwise-separable", "--json")
    assert json.loads(checked.stdout)["findings"] == []
    assert checked.returncode == 0


RECIPE = """
[data]
name = "digits"
size = 28
limit = 300

[training]
epochs = 1

[[phases]]
name = "main"

[[phases.plugins]]
name = "depthwise-separable"
options = { min_inputs = 4 }

[constraints]
max_drop = 0.99

[search]
trials = 1
allow_untrained = true
"""


def test_it_is_searched_and_exported(site_packages: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    model, out = tmp_path / "model.pt", tmp_path / "run"
    trained = run(site_packages, "train", "a3", "--data", "mnist", "--fallback", "--epochs", "0", "--out", str(model))
    assert trained.returncode == 0, trained.stderr
    done = run(
        site_packages, "optimize", str(model), "--recipe", str(tmp_path / "recipe.toml"), "--out", str(out), "--json"
    )
    assert done.returncode in (0, 1), done.stderr
    result = json.loads(done.stdout)
    steps = [step for phase in result["best"]["plan"]["phases"] for step in phase["steps"]]
    assert {step["plugin"] for step in steps} == {"depthwise-separable"}
    session = onnxruntime.InferenceSession(out / "best" / "model.onnx")
    (scores,) = session.run(None, {session.get_inputs()[0].name: np.zeros((3, 1, 28, 28), np.float32)})
    assert scores.shape == (3, 10)


def test_it_is_not_there_without_being_installed(tmp_path: Path) -> None:
    listed = json.loads(run(tmp_path, "plugins", "--json").stdout)
    assert "depthwise-separable" not in {entry["name"] for entry in listed}


def test_the_page_shows_the_package_as_it_is() -> None:
    page = PAGE.read_text()
    python = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    toml = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    source = (PACKAGE / "compressor_depthwise.py").read_text()
    assert source in python
    assert (PACKAGE / "pyproject.toml").read_text() in toml
    assert len(source.splitlines()) <= 40


def test_the_plugins_that_are_written_step_by_step_pass_the_conformance_kit() -> None:
    sources = re.findall(r"```python\n(# \w+\.py\n.*?)```", STEPS.read_text(), flags=re.DOTALL)
    for source, name in zip(sources, ("DropLayers", "EightBits"), strict=True):
        module: dict[str, Any] = {"__name__": name}
        exec(compile(source, name, "exec"), module)
        assert check_plugin(module[name](), {"chain": small_networks()["chain"]}) == []
