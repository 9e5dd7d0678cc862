"""Every command and recipe in the README and in docs/ does what the page says.

Commands run in the order they stand on the page, in a folder of the page's own, on data cut to a few hundred samples.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from compressor.recipe.read import read_recipe

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)

BUDGET = {
    "train": "--limit 300 --epochs 1 --fallback --force",
    "optimize": "--trials 1 --allow-untrained --set data.limit=300 --set data.fallback=true --set training.epochs=1 "
    "--set constraints.max_drop=0.99",
}
"""What is added to a command so that it takes seconds."""

COLOUR = {
    "train": "--limit 40 --epochs 1 --force",
    "optimize": "--dry-run --allow-untrained --set data.name= --set data.npz=colour.npz --set data.validation=0.2 "
    "--set data.limit=40",
}
"""The same for networks that read colour images, made up here. The tests of the recipe itself run it whole."""


REST = {
    "[data]": '[data]\nname = "digits"\n',
    "[[phases": """
[[phases]]
name = "compress"
[[phases.plugins]]
name = "binarize"
[[phases.plugins]]
name = "layer-removal"
""",
}
"""What a page's fragment of a recipe needs to be a whole one."""


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


def commands(page: Path) -> Iterator[str]:
    for text in blocks(page, "console"):
        joined = text.replace("\\\n", " ")
        yield from (line.removeprefix("$ ") for line in joined.splitlines() if line.startswith("$ "))


def write_files(page: Path, folder: Path) -> None:
    """The files of a page: blocks that begin with a comment of nothing but a file name."""
    for text in (*blocks(page, "python"), *blocks(page, "toml")):
        if named := re.match(r"# (\w+\.(?:py|toml))\n", text):
            (folder / named[1]).write_text(text)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    assert run("compressor train lenet --data fashion-mnist --out model.pt", folder).returncode == 0
    return folder / "model.pt"


@pytest.fixture
def workspace(tmp_path: Path, site_packages: Path, small_model: Path) -> Path:
    """A folder that looks like a checkout to a command, with a small model and the third-party plugin in it."""
    for part in ("recipes", "tests", "benchmarks", "examples"):
        (tmp_path / part).symlink_to(ROOT / part)
    (tmp_path / "site-packages").symlink_to(site_packages)
    shutil.copy(small_model, tmp_path / "model.pt")
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (100, 32, 32, 3), dtype=np.uint8), np.arange(100) % 10
    np.savez(tmp_path / "colour.npz", x=images, y=labels)
    return tmp_path


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command.replace("--data cifar-10", "--data colour.npz"))
    budget = COLOUR if "vgg" in command else BUDGET
    extra = shlex.split(budget.get(words[1], "")) if words[0] == "compressor" else []
    environment = {
        **os.environ,
        "COMPRESSOR_OFFLINE": "1",
        "PYTHONPATH": str(folder / "site-packages"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    return subprocess.run(
        [*words, *extra], cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.mark.parametrize("page", [page for page in PAGES if any(commands(page))], ids=name)
def test_every_command_runs(page: Path, workspace: Path) -> None:
    write_files(page, workspace)
    for command in commands(page):
        program, *rest = shlex.split(command)
        if program == "make":
            assert re.search(rf"^{rest[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), command
            continue
        done = run(command, workspace)
        fine = {0, 1} if rest[:1] in (["optimize"], ["resume"]) else {0}
        assert done.returncode in fine, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")], ids=name)
def test_every_recipe_is_one(page: Path, tmp_path: Path) -> None:
    for number, text in enumerate(blocks(page, "toml")):
        if "[build-system]" in text:
            continue  # a pyproject.toml
        file = tmp_path / f"{number}.toml"
        missing = [table for head, table in REST.items() if head not in text]
        file.write_text("\n".join([text, *missing]))
        read_recipe(file)


REACHED = re.compile(r"^\| \[\w+\]\(recipes/\w+\.toml\) \|.*%.*$", re.MULTILINE)
FIGURE = re.compile(r"\d+\.\d+ ± \d+\.\d+|\d+\.\d+(?= %)|\d+,\d+(?:,\d+)?|\d+\.\d+×")


def test_what_recipes_reach_by_the_readme_stands_on_the_pages_of_results() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "results").glob("*.md"))
    figures = FIGURE.findall("\n".join(REACHED.findall((ROOT / "README.md").read_text(encoding="utf-8"))))
    assert figures
    assert [figure for figure in figures if figure not in pages] == []
