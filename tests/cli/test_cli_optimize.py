"""``optimize`` and ``resume`` as real processes, on the embedded digits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cli_running import Run

MAIN = [sys.executable, "-m", "compressor.cli.main"]
RECIPE = """
[data]
name = "digits"
limit = 300

[training]
epochs = 1

[[phases]]
name = "compress"

[[phases.plugins]]
name = "binarize"

[search]
trials = 2
allow_untrained = true

[measure]
finalists = 1
"""
SLOW = ["--set", "training.epochs=400", "--set", "search.automatic_seeds=false"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "quick.toml"
    path.write_text(RECIPE)
    return path


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MAIN, *map(str, arguments)], capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def finished(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, command("optimize", "digits-cnn", "--recipe", recipe, "--out", folder, "--json")


def test_a_reader_that_goes_away_changes_neither_the_run_nor_its_exit_code(recipe: Path, tmp_path: Path) -> None:
    line = " ".join([*MAIN, "optimize", "digits-cnn", "--recipe", str(recipe), "--out", str(tmp_path / "run")])
    piped = f"{line} --trials 1 --jobs 1 | head -1; echo ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", piped], capture_output=True, text=True, timeout=600)
    helped = json.loads((tmp_path / "run" / "result.json").read_bytes())["verdict"]["helped"]
    assert ended.stdout.splitlines()[1:] == ["0" if helped else "1"]
    assert "Traceback" not in ended.stderr


def test_standard_output_is_the_result_alone(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, ended = finished
    told: dict[str, Any] = json.loads(ended.stdout)
    kept: dict[str, Any] = json.loads((folder / "result.json").read_text())
    assert {key: told[key] for key in kept} == kept
    assert ended.returncode == (0 if told["verdict"]["helped"] else 1)
    assert told["verdict"]["reasons"]
    for candidate in (told["baseline"], told["best"], *told["front"]):
        assert {"params", "size_bytes", "macs", "accuracy", "latency", "plan"} <= candidate.keys()
        assert {"validation", "test", "onnx"} <= candidate["accuracy"].keys()
        assert {"us", "speedup", "low", "high"} <= candidate["latency"].keys()


def test_the_files_it_names_are_there(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    _, ended = finished
    told = json.loads(ended.stdout)
    model, report = Path(told["model"]), Path(told["report"])
    assert model.stat().st_size == told["best"]["size_bytes"]
    assert "Before and after" in report.read_text()


def test_progress_goes_to_standard_error_in_plain_lines(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    _, ended = finished
    assert "\x1b" not in ended.stderr
    assert "baseline: validation accuracy" in ended.stderr
    assert "[2/2]" in ended.stderr


def test_a_finished_run_is_told_again(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, ended = finished
    before = (folder / "study.db").stat().st_mtime_ns
    again = command("resume", folder)
    assert again.returncode == ended.returncode
    assert "best/model.onnx" in again.stdout
    assert (folder / "study.db").stat().st_mtime_ns >= before


def test_a_folder_that_holds_a_run_is_not_touched(
    finished: tuple[Path, subprocess.CompletedProcess[str]], recipe: Path, run: Run
) -> None:
    folder, _ = finished
    ran = run("optimize", "digits-cnn", "--recipe", recipe, "--out", folder)
    assert ran.code == 2
    assert f"compressor resume {folder}" in ran.err


def test_ctrl_c_ends_it_resumably(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = ["optimize", "digits-cnn", "--recipe", str(recipe), "--out", str(folder), *SLOW]
    process = subprocess.Popen([*MAIN, *arguments], stderr=subprocess.PIPE, text=True, stdout=subprocess.PIPE)
    assert process.stderr is not None
    for line in process.stderr:
        if " starts: " in line:
            break
    process.send_signal(signal.SIGINT)
    time.sleep(2)
    process.send_signal(signal.SIGINT)  # the second ends what runs
    out, err = process.communicate(timeout=240)
    assert process.returncode == 130
    assert "Traceback" not in out + err
    assert f"go on with: compressor resume {folder}" in err


def test_a_dry_run_shows_the_space_and_leaves_nothing(recipe: Path, tmp_path: Path, run: Run, model: Path) -> None:
    folder = tmp_path / "run"
    arguments = ("optimize", model, "--recipe", recipe, "--out", folder, "--trials", 7, "--seed", 3, "--dry-run")
    told = run(*arguments, "--json").json
    assert told["recipe"]["search"]["trials"] == 7
    assert told["recipe"]["search"]["seed"] == 3
    assert "compress.binarize" in [parameter["name"] for parameter in told["parameters"]]
    plain = run(*arguments)
    assert plain.code == 0
    assert "compress.binarize.count" in plain.out
    assert not folder.exists()


def test_a_model_that_does_not_fit_the_data_leaves_no_folder(recipe: Path, tmp_path: Path, run: Run) -> None:
    ran = run("optimize", "lenet", "--recipe", recipe, "--out", tmp_path / "run")
    assert ran.code == 2
    assert "images are 1×8×8" in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written(recipe: Path, tmp_path: Path, run: Run) -> None:
    tmp_path.chmod(0o500)
    ran = run("optimize", "digits-cnn", "--recipe", recipe, "--out", tmp_path / "run")
    assert ran.code == 2
    assert "Permission denied" in ran.err


def test_a_place_that_is_a_file(recipe: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "taken").write_text("")
    for place in (tmp_path / "taken", tmp_path / "taken" / "run"):
        ran = run("optimize", "digits-cnn", "--recipe", recipe, "--out", place)
        assert ran.code == 2
        assert "taken" in ran.err


def test_a_factory_takes_its_shape_from_the_data(recipe: Path, tmp_path: Path, run: Run) -> None:
    source = "compressor.models.small_cnn:digits_cnn"
    told = run("optimize", source, "--recipe", recipe, "--out", tmp_path / "run", "--dry-run", "--json")
    assert told.code == 0, told.err
