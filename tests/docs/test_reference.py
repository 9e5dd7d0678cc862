"""The generated pages and figures say what the code and the recorded results say today."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from compressor.errors import CompressorError
from compressor.graph.layers.kind import LayerKind

DOCS = Path(__file__).parents[2] / "docs"


def tool(name: str) -> ModuleType:
    """A script of docs/tools, as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return dict(tool("reference").pages())


def test_the_pages_are_those_that_the_code_gives(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        assert (DOCS / "reference" / name).read_text(encoding="utf-8") == text, (
            f"docs/reference/{name} is out of date: run python docs/tools/reference.py"
        )


def test_every_option_key_and_error_is_there(pages: dict[str, str]) -> None:
    assert {"`--recipe`, `-r` `R`", "## compressor plugins check"} <= set(_parts(pages["commands.md"]))
    assert {"`max_drop`", "## `[[phases.plugins]]`", "## `[training.distillation]`"} <= set(_parts(pages["recipe.md"]))
    assert {"## layer-removal", "`shortlist`"} <= set(_parts(pages["plugins.md"]))
    assert all(f"`{error.__name__}`" in pages["errors.md"] for error in CompressorError.__subclasses__())


def test_the_figures_are_those_that_the_results_give(tmp_path: Path) -> None:
    drawn = tool("figures").figures()
    assert {path.stem for path in (DOCS / "figures").glob("*.svg")} == set(drawn)
    for name, drawing in drawn.items():
        drawing.save(tmp_path / "drawn.svg")
        assert (DOCS / "figures" / f"{name}.svg").read_text(encoding="utf-8") == (tmp_path / "drawn.svg").read_text(
            encoding="utf-8"
        ), f"docs/figures/{name}.svg is out of date: run python docs/tools/figures.py"


def _parts(page: str) -> list[str]:
    return [part.strip() for line in page.splitlines() for part in line.strip("| ").split(" | ")]


def test_the_page_on_layer_kinds_shows_a_kind_as_it_is() -> None:
    """Its file, its line in the table, and its line in the test: all that adding a kind takes."""
    page, root = (DOCS / "layer_kinds.md").read_text(encoding="utf-8"), DOCS.parent
    file, entry, example = re.findall(r"^```\w+\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert file == "# rms_norm.py\n" + (root / "compressor/graph/layers/rms_norm.py").read_text(encoding="utf-8")
    assert entry in (root / "compressor/graph/layers/table.py").read_text(encoding="utf-8")
    assert example in (root / "tests/graph/test_layer_kinds.py").read_text(encoding="utf-8")


def test_the_page_on_layer_kinds_tells_of_every_answer() -> None:
    page = (DOCS / "layer_kinds.md").read_text(encoding="utf-8")
    told = re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `")))
    assert told == [field.name for field in dataclasses.fields(LayerKind)]
