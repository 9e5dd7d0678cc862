"""Runs side by side: the best of each, what their recipes differ in, and when their figures must not be compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from compressor.cli.main import main
from compressor.report.compare import best_table, cautions, compare_runs, named, recipes_table
from compressor.report.gather import Facts
from compressor.report.page.comparison import comparison_page
from compressor.search.run_folder import RunFolder


@pytest.fixture
def runs(sample: Facts) -> dict[str, Facts]:
    """The same run, once with another recipe and without success."""
    result = replace(sample.result, best=None, front=(), verdict=replace(sample.result.verdict, helped=False))
    recipe = sample.recipe.replace('name = "digits"', 'name = "mnist"').replace("trials = 20", "trials = 7")
    return {"a": sample, "b": replace(sample, folder=Path("/runs/<b>"), result=result, recipe=recipe)}


def test_a_row_per_run(runs: dict[str, Facts]) -> None:
    a, b = best_table(runs).rows
    assert a[:4] == ("a", "yes", "93.70 %", "−1.40 points")
    assert b[:3] == ("b", "no", "–")
    (first, _) = compare_runs(runs)
    assert "b: It did not help." in first.lines


def test_only_what_differs_in_the_recipes_is_shown(runs: dict[str, Facts]) -> None:
    found = recipes_table(runs)
    assert {row[0]: row[1:] for row in found.rows} == {"data.name": ("digits", "mnist"), "search.trials": ("20", "7")}
    assert recipes_table({"a": runs["a"], "again": runs["a"]}).rows == ()


def test_what_cannot_be_compared_is_said(runs: dict[str, Facts]) -> None:
    assert list(cautions(runs)) == ["they were trained and scored on different data"]
    elsewhere = replace(runs["a"], environment={**runs["a"].environment, "processor": "another"})
    assert list(cautions({"a": runs["a"], "c": elsewhere})) == ["they were timed on different processors"]
    assert list(cautions({"a": runs["a"]})) == []


def test_runs_are_named_by_what_tells_them_apart(sample: Facts) -> None:
    folders = [Path(path) for path in ("/x/one/run", "/x/two/run", "/x/two/run")]
    assert list(named([replace(sample, folder=folder) for folder in folders])) == ["one/run", "two/run", "two/run (3)"]
    assert list(named([sample])) == [sample.folder.name]


def test_the_page_holds_both_and_escapes(runs: dict[str, Facts]) -> None:
    html = comparison_page({"a": runs["a"], "<b>": runs["b"]})
    assert "&lt;b&gt;" in html
    assert html.count('class="run0"') == 2 * len(runs["a"].result.front) + 1
    assert 'id="run-1"' in html


def test_the_command(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    page = tmp_path / "page.html"
    assert main(["compare", str(run.path), str(run.path), "--html", str(page)]) == 0
    out = capsys.readouterr().out
    assert "run (2)" in out
    assert max(map(len, out.splitlines())) <= 80
    assert page.read_text(encoding="utf-8").endswith("</html>\n")
    assert main(["compare", str(run.path), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"runs", "sections"}
    assert main(["compare", str(tmp_path / "nothing")]) == 2
