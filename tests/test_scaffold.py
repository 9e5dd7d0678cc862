"""``compressor plugins new``: a package that pip installs, that is found, and that passes its own tests; offline."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

from compressor.cli.main import main
from compressor.errors import InputError
from compressor.registry import GROUP
from compressor.scaffold import names_of, write_plugin

PIP = ("-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation")


def run(*command: object, path: Path | None = None) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(path or "")}
    words = [sys.executable, *map(str, command)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_new_package_installs_and_passes_its_own_conformance_test(tmp_path: Path) -> None:
    package, target = tmp_path / "low-rank", tmp_path / "site-packages"
    assert main(["plugins", "new", "low-rank", "--out", str(package)]) == 0
    run(*PIP, "--disable-pip-version-check", "--target", target, package)
    (distribution,) = importlib.metadata.distributions(path=[str(target)])
    (point,) = distribution.entry_points
    assert (point.group, point.name, point.value) == (GROUP, "low-rank", "compressor_low_rank:LowRank")
    assert "21 passed" in run("-m", "pytest", "-q", package / "tests", path=target)
    assert len((package / "compressor_low_rank.py").read_text().splitlines()) < 50


@pytest.mark.parametrize("name", ["", "Low", "low_rank", "-low", "1st", "a b", "../up", "x" * 51])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is no name for a plugin"):
        names_of(name)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        write_plugin(names_of("low-rank"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
