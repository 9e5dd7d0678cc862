"""``report.html`` is one file: escaped, complete, and nothing in it is fetched."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sample_run import sample_run

from compressor.errors import RunFolderError
from compressor.report.gather import Facts, gather
from compressor.report.page.course import course
from compressor.report.page.front import plots
from compressor.report.page.network import diagram
from compressor.report.page.render import page
from compressor.report.write import write_report
from compressor.search.result import Calibration, Foretold
from compressor.search.run_folder import RunFolder

VOID = {"meta", "col", "br", "hr", "img", "link", "input"}


class Outline(HTMLParser):
    """Tags in order, text, addresses; complains where tags do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []
        self.policy = ""
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        known = dict(attrs)
        assert len(known) == len(attrs), "an attribute is given twice"
        assert not [name for name in known if name.startswith("on")], "markup that acts"
        self.names += [known["id"] or ""] if "id" in known else []
        self.policy = known["content"] or "" if known.get("http-equiv") == "Content-Security-Policy" else self.policy
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def outline(html: str) -> Outline:
    parsed = Outline()
    parsed.feed(html)
    assert parsed.open == []
    return parsed


@pytest.fixture(scope="session")
def html(sample: Facts) -> str:
    return page(sample)


def test_everything_is_there(html: str) -> None:
    text = outline(html).text
    for part in (
        "It helped", "Before and after", "Front", "What changed", "Trials", "Control arms", "How it was measured",
        "recipe.toml, as run", "Environment", "Where the trials spent their time", "compressor optimize",
        "(pixel / 255 − 0.5) / 0.25, layout NCHW (a test)", "(input / 255 - 0.5) / 0.25",
        "best/model.onnx", "binarize", "scratch", "screened", "onnxruntime",
    ):  # fmt: skip
        assert part in text, part


def test_nothing_is_fetched(html: str) -> None:
    parsed = outline(html)
    assert not [where for where in parsed.addresses if not where.startswith("#") and where != "best/model.onnx"]
    assert "default-src 'none'" in parsed.policy
    assert not re.search(r"url\((?!#)", html)
    assert "@import" not in html
    assert "data:" not in html


def test_every_link_within_the_page_leads_somewhere(html: str) -> None:
    parsed = outline(html)
    assert len(set(parsed.names)) == len(parsed.names)
    assert {where[1:] for where in parsed.addresses if where.startswith("#")} <= set(parsed.names)


ATTACK = " ".join(
    (
        "javascript:alert(1)//",
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "' onmouseover='alert(1)",
        "</style></title></table><svg onload=alert(1)>",
        "{{ 7*7 }}{% raw %}",
        "\x1b[31m\u202egnp.exe\u2066",
    )
)


def test_no_text_of_a_run_becomes_markup(tmp_path: Path, html: str) -> None:
    """Every string in every JSON file of the run, where its type lets it be anything, is hostile."""
    run = sample_run(tmp_path / f"run {ATTACK.replace('/', '_')}")
    for file in run.path.rglob("*.json"):
        file.write_text(json.dumps(_hostile(json.loads(file.read_text()))))
    environment = {f"key {ATTACK}": ATTACK, "model": ATTACK, "libraries": {ATTACK: ATTACK}}
    (run.path / "environment.json").write_text(json.dumps(environment))
    recipe = run.path / "recipe.toml"
    recipe.write_text(f"# {ATTACK}\n" + recipe.read_text())
    attacked = page(gather(run))
    parsed = outline(attacked)
    assert attacked.count("&lt;script&gt;alert(1)") > 10
    assert parsed.tags.count("script") == 1
    assert set(parsed.tags) <= set(outline(html).tags)
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", attacked)
    assert not [where for where in parsed.addresses if ":" in where]
    assert "7*7" in parsed.text


FIXED = {
    "status",
    "direction",
    "model",
    "files",
    "digest",
    "kind",
    "rewind",
    "start",
    "draw",
    "layout",
    "plugin",
    "run",
    "folder",
}
"""What a reader checks, so that other values are damage and nothing to show."""


def _hostile(data: object) -> object:
    match data:
        case dict():
            return {name: value if name in FIXED else _hostile(value) for name, value in data.items()}
        case list():
            return [_hostile(value) for value in data]
        case str():
            return f"{data}{ATTACK}"
    return data


def test_the_report_is_written_whole(run: RunFolder, sample: Facts) -> None:
    path = write_report(sample)
    assert path == run.path / "report.html"
    assert path.read_text(encoding="utf-8").endswith("</html>\n")
    assert not list(run.path.glob(".report*"))


def test_the_same_run_gives_the_same_report(run: RunFolder, html: str) -> None:
    assert page(gather(run)) == html


def test_a_run_without_a_candidate_has_a_report(tmp_path: Path) -> None:
    text = outline(page(gather(sample_run(tmp_path / "run", helped=False, best=False)))).text
    assert "It did not help" in text
    assert "Before and after" not in text
    assert "These came nearest" in text
    assert "unchanged" in text
    assert "Trials" in text


def test_an_interrupted_run_has_a_preliminary_report(tmp_path: Path) -> None:
    text = outline(page(gather(sample_run(tmp_path / "run", helped=False, final=False)))).text
    assert "preliminary" in text
    assert "test split has not been opened" in text


def test_no_result_no_report(tmp_path: Path) -> None:
    run = sample_run(tmp_path / "run")
    (run.path / "result.json").unlink()
    with pytest.raises(RunFolderError, match="no result yet"):
        gather(run)


def test_trials_are_in_order(sample: Facts) -> None:
    assert [trial.number for trial in sample.trials] == list(range(len(sample.trials)))
    assert [trial.outcome.status for trial in sample.trials][-2:] == ["screened", "failed"]


def test_every_candidate_is_a_point_with_what_it_is(sample: Facts) -> None:
    size, speed = plots(sample)
    for plot in (size, speed):
        assert [point.kind for point in plot.points].count("finalist") == len(sample.result.front) - 1
        assert [point.kind for point in plot.points][-2:] == ["best", "baseline"]
        assert {point.about for point in plot.points} >= {candidate.about for candidate in sample.result.front}
    assert all(point.low is None for point in size.points)
    for point in speed.points[:-1]:
        assert point.low is not None
        assert point.high is not None
        assert point.low < point.x < point.high
    baseline, best = size.points[-1], size.points[-2]
    assert best.x < baseline.x  # smaller lies to the left
    assert best.y > baseline.y  # less accurate lies below


def test_the_network_is_drawn_with_what_changed(sample: Facts) -> None:
    drawn = diagram(sample)
    assert drawn is not None
    rows = {row.name: row for row in drawn.rows}
    assert [row.name for row in drawn.rows] == ["conv1", "conv2", "fc1", "fc2"]
    assert [rows[name].kind for name in ("conv1", "fc1", "fc2")] == ["changed", "changed", "changed"]
    sizes = rows["fc1"].bytes
    assert sizes is not None
    assert sizes.before == 1.0
    assert sizes.after is not None
    assert sizes.after < 0.05
    assert not drawn.timed
    assert len(drawn.ways) == len(drawn.rows) - 1


def test_the_search_shows_what_was_foretold_beside_what_was_reached(sample: Facts) -> None:
    def foretold(trial: int, regret: float) -> Foretold:
        return Foretold(trial, regret, regret - 0.005, regret + 0.005, 0.5, 0.9, 0.01, 0.5, 0.9, True)

    right, wrong = foretold(0, 0.002), foretold(1, 0.2)
    result = replace(sample.result, calibration=Calibration((right, wrong), 0.5, 1.0))
    drawn, plain = course(replace(sample, result=result)), course(sample)
    assert drawn is not None
    assert plain is not None
    assert not plain.predicted
    assert "2 predictions: 1 of them held what was reached" in drawn.predictions
    first = drawn.steps[0]
    assert first.low is not None
    assert first.high is not None
    assert first.predicted is not None
    assert first.high < first.predicted < first.low  # upwards is better
    assert first.predicted == pytest.approx(first.y)
    assert drawn.steps[2].predicted is None
    assert [step.status for step in drawn.steps if step.y is None] == ["screened", "failed"]
