"""Every page of results begins with what it shows, in figures that stand on the page."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
OPENINGS = tomllib.loads((RESULTS / "openings.toml").read_text(encoding="utf-8"))
FIGURE = re.compile(r"\d[\d,]*\.\d+|\d[\d,]{2,}")

_spec = importlib.util.spec_from_file_location("_opening", ROOT / "benchmarks" / "_opening.py")
assert _spec is not None
assert _spec.loader is not None
_opening = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_opening)


def text(name: str) -> str:
    return (RESULTS / f"{name}.md").read_text(encoding="utf-8")


def test_every_page_has_an_opening() -> None:
    assert {page.stem for page in RESULTS.glob("*.md")} == set(OPENINGS)


@pytest.mark.parametrize("name", OPENINGS)
def test_it_stands_on_the_page(name: str) -> None:
    assert _opening.with_opening(name, text(name)) == text(name), "run python benchmarks/_opening.py"


@pytest.mark.parametrize("name", OPENINGS)
def test_it_is_two_sentences_whose_figures_the_page_has(name: str) -> None:
    shows = OPENINGS[name]["shows"]
    assert len(re.findall(r"\.(?:\s|$)", shows)) == 2
    body = text(name).partition(_opening.MARK)[2]
    assert [figure for figure in FIGURE.findall(shows) if figure not in body] == []


def test_an_opening_takes_the_place_of_the_one_before() -> None:
    once = _opening.with_opening("payoff", "# Title\n\nOld text\n\n<!-- opening -->\n\nthe rest\n")
    assert once == _opening.with_opening("payoff", "# Title\n\nthe rest\n")
    assert "Old text" not in once
    assert once.endswith("the rest\n")
    assert _opening.with_opening("none of ours", "# Title\n\nthe rest\n") == "# Title\n\nthe rest\n"
