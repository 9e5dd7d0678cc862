"""Pages of results: verdicts from differences, and every page anew from the figures kept."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RESULTS = BENCHMARKS.parent / "docs" / "results"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def module(name: str) -> ModuleType:
        return importlib.import_module(name)

    return module


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([1.0, 1.1, 0.9], "held"),
        ([-1.0, -1.1, -0.9], "did not hold"),
        ([1.0, -0.5, 0.1], "not decided"),
        ([1.0], "not tested"),
    ],
)
def test_a_claim_is_settled_beyond_two_standard_errors(load: Any, values: list[float], verdict: str) -> None:
    assert load("papers.measured").settled(values) == verdict


def test_a_loss_that_is_allowed_moves_the_bound(load: Any) -> None:
    settled = load("papers.measured").settled
    assert settled([-0.1, -0.2, -0.1]) == "did not hold"
    assert settled([-0.1, -0.2, -0.1], above=-0.4) == "held"


def test_seeds_are_compared_with_themselves(load: Any, tmp_path: Path) -> None:
    arms_of, paired = load("papers.arms"), load("papers.measured").paired
    arms, budget = arms_of.Arms(tmp_path / "page.json"), arms_of.Budget("default", 1)
    for seed, (one, other) in enumerate([(0.9, 0.8), (0.5, 0.6)]):
        arms.get("one", seed, budget, lambda value=one: {"test": value})
        arms.get("other", seed, budget, lambda value=other: {"test": value})
    arms.get("one", 2, budget, lambda: {"test": 0.1})
    assert paired(arms, budget, "one", "other") == pytest.approx([10.0, -10.0])


def test_every_page_is_what_its_figures_say(load: Any) -> None:
    arms_of = load("papers.arms")
    for name in load("paper_tables").RECIPES:
        paper = load(f"papers.{name}")
        arms = arms_of.Arms(RESULTS / "data" / f"{name}.json")
        text = paper.page(arms, full=False).markdown(arms.places())
        kept = (RESULTS / f"{name}.md").read_text(encoding="utf-8")
        assert kept == text, f"{name}.md: python benchmarks/paper_tables.py --render"


def test_a_run_that_found_nothing_has_a_row_that_says_why(load: Any, tmp_path: Path) -> None:
    arms_of, recipe = load("papers.arms"), load("papers.redundancy_recipe")
    arms = arms_of.Arms(tmp_path / "page.json")
    arms.get("recipe", 0, recipe.RECIPE, lambda: {"found": 0, "why": "no tiling passed"})
    table = recipe.recipe_table(arms.of("recipe", recipe.RECIPE))
    assert [row[-1] for row in table.rows] == ["no tiling passed"]
    assert {len(row) for row in table.rows} == {len(table.columns)}
