"""Every example runs, and says what its first lines promise. Notebooks run cell by cell, in plain Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SAYS = {
    "own_plugin.py": "0 findings",
    "python_api.py": "base ",
    "sites.py": "layer-removal: ",
    "which_is_faster.py": ", faster",
    "first_run.ipynb": "bytes;",
    "read_a_run.ipynb": "bytes  1.00×",
}


def source(example: Path) -> str:
    """The program; of a notebook its code cells, in order."""
    text = example.read_text(encoding="utf-8")
    if example.suffix == ".py":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all: the second notebook reads the run of the first, where it is there."""
    return tmp_path_factory.mktemp("examples")


@pytest.mark.parametrize("name", SAYS)
def test_it_runs(name: str, folder: Path) -> None:
    program = folder / "program.py"
    program.write_text(source(EXAMPLES / name), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, program],
        cwd=folder,
        env={**os.environ, "COMPRESSOR_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert SAYS[name] in done.stdout


def test_every_example_is_tested_and_listed() -> None:
    examples = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    assert examples == set(SAYS)
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"[{name}]({name})" in listed for name in examples)


@pytest.mark.parametrize("notebook", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_kept_without_outputs(notebook: Path) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    assert all(not cell["outputs"] for cell in cells if cell["cell_type"] == "code")
