"""``report.html`` is one file: escaped, complete, and nothing in it is fetched."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sample_run import sample_run

from compressor.errors import RunFolderError
from compressor.report.gather import gather
from compressor.report.html import page
from compressor.report.plots import size_plot, speed_plot
from compressor.report.write import write_report
from compressor.search.run_folder import RunFolder

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Outline(HTMLParser):
    """Tags in order, text, addresses; complains where tags do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
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


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return sample_run(tmp_path_factory.mktemp("report") / "run")


@pytest.fixture(scope="module")
def html(run: RunFolder) -> str:
    return page(gather(run))


def test_everything_is_there(html: str) -> None:
    text = outline(html).text
    for part in (
        "It helped", "Before and after", "Front", "What changed", "Trials", "Control arms", "How it was measured",
        "Recipe as run", "Environment",
        "(pixel / 255 − 0.5) / 0.25, layout NCHW (a test)", "(pixels / 255 - 0.5) / 0.25",
        "best/model.onnx", "binarize", "scratch", "screened", "onnxruntime",
    ):  # fmt: skip
        assert part in text, part


def test_nothing_is_fetched(html: str) -> None:
    parsed = outline(html)
    assert "script" not in parsed.tags
    assert not [where for where in parsed.addresses if not where.startswith("#") and where != "best/model.onnx"]
    assert not re.search(r"url\((?!#)", html)
    assert "@import" not in html
    assert "data:" not in html


def test_text_of_others_is_escaped(html: str) -> None:
    assert "<script" not in html
    assert "\x1b" not in html
    assert "&lt;script&gt;alert" in html


def test_the_report_is_written_whole(run: RunFolder) -> None:
    path = write_report(gather(run))
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


def test_trials_are_in_order(run: RunFolder) -> None:
    facts = gather(run)
    assert [trial.number for trial in facts.trials] == list(range(len(facts.trials)))
    assert [trial.outcome.status for trial in facts.trials][-2:] == ["screened", "failed"]


def test_plots_are_drawings_that_follow_the_page(run: RunFolder) -> None:
    facts = gather(run)
    for svg in (size_plot(facts.result, []), speed_plot(facts.result, [facts.result.baseline.metrics])):
        root = ET.fromstring(svg)
        assert root.tag.endswith("svg")
        assert "width" not in root.attrib
        assert "currentColor" in svg
        assert "<image" not in svg
        assert "metadata" not in svg


def test_every_candidate_of_the_front_is_drawn_with_its_interval(run: RunFolder) -> None:
    result = gather(run).result
    assert speed_plot(result, []).count("LineCollection") == len(result.front)
