"""What others install: a wheel that carries plugins, recipes, types and licence, and works away from the source."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import compressor

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--disable-pip-version-check", "--wheel-dir", folder, ROOT], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def run(installed: Path, folder: Path, *words: str) -> str:
    """A command of the installed package alone: the source tree is not on its path."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    code = "import compressor, sys; print(compressor.__file__, file=sys.stderr); import compressor.cli.main as m; "
    done = subprocess.run(
        [sys.executable, "-c", f"{code}sys.exit(m.main())", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.startswith(str(installed))
    return done.stdout


def test_the_wheel_carries_everything(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"compressor/py.typed", "compressor_plugins/py.typed", "compressor/_recipes/quickstart.toml"} <= names
    recipes = {f"compressor/_recipes/{path.name}" for path in (ROOT / "recipes").glob("*.toml")}
    assert recipes <= names
    sources = {
        str(path.relative_to(ROOT)) for path in (ROOT / "compressor").rglob("*") if path.suffix in {".py", ".css"}
    }
    assert sources <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)


def test_the_installed_package_works_elsewhere(installed: Path, tmp_path: Path) -> None:
    assert compressor.__version__ in run(installed, tmp_path, "--version")
    recipes = {
        entry["name"]: Path(entry["file"]) for entry in json.loads(run(installed, tmp_path, "recipe", "list", "--json"))
    }
    assert recipes["quickstart"].is_relative_to(installed)
    assert "fashion-mnist" in run(installed, tmp_path, "recipe", "show", "quickstart")
