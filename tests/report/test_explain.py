"""A candidate in plain words: the words follow the figures of its run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from compressor.cli.main import main
from compressor.engine.sensitivity import Sensitivities, SiteSensitivity
from compressor.errors import InputError
from compressor.report.explain import chosen_trial, explain
from compressor.report.gather import Facts, changes_of
from compressor.search.run_folder import RunFolder


def told(facts: Facts, name: str = "") -> dict[str, str]:
    return {
        section.title: "\n".join(section.lines) for section in explain(facts, chosen_trial(facts, name), facts.changes)
    }


def measured(facts: Facts, **losses: float) -> Facts:
    entries = {site: SiteSensitivity(loss, 0.2, 0.0) for site, loss in losses.items()}
    return replace(facts, sensitivities=Sensitivities({"binarize": entries}))


def test_the_best_is_explained_where_nobody_says_which(sample: Facts) -> None:
    words = told(sample)
    assert "It is the best" in words["What it is"]
    assert "binarize at conv1, conv2, fc1" in words["What was done"]
    assert "fc1: Gemm float32 64×512 became Gemm uint8 4096×1, 128 KiB → 4.52 KiB." in words["What was done"]
    assert "8.0" in words["What it cost and brought"] or "smaller" in words["What it cost and brought"]
    assert "The control scratch came to 91.00 %" in words["What it cost and brought"]


def test_sites_are_explained_by_what_was_measured_of_them(sample: Facts) -> None:
    first = measured(sample, conv1=0.01, conv2=0.02, fc1=0.03, fc2=0.5)
    assert "cost the least loss for what they save" in told(first, "2")["Why there"]
    assert "Of the others site fc2 would have cost most: +0.500 of loss" in told(first, "2")["Why there"]
    other = measured(sample, conv1=0.01, conv2=0.02, fc1=0.3, fc2=0.05)
    assert "Site fc2 would have cost less loss for what it saves than fc1" in told(other, "2")["Why there"]
    (why,) = (s for s in explain(first, chosen_trial(first, "2"), ()) if s.title == "Why there")
    assert why.content is not None
    assert why.content.rows[0] == ("conv1", "binarize", "+0.010", "20.0 %", "–", "1 of 4")


def test_others_are_said_to_be_what_they_are(sample: Facts) -> None:
    count = len(sample.result.front)
    assert "finalists" in told(sample, "0")["What it is"]
    assert "was not trained, since a limit was overstepped before" in told(sample, str(count))["What it is"]
    assert "failed: BrokenPromise" in told(sample, "f" * 5)["What it is"]


@pytest.mark.parametrize(
    ("name", "complaint"), [("99", "no candidate is called '99'; there are 0, 1"), ("zzzz", "no candidate")]
)
def test_a_name_that_nothing_has(sample: Facts, name: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        chosen_trial(sample, name)


def test_where_nothing_is_best_one_must_be_named(sample: Facts) -> None:
    nothing = replace(sample, result=replace(sample.result, best=None, front=()))
    with pytest.raises(InputError, match="name the one to explain"):
        chosen_trial(nothing)
    assert "another candidate is at least as good" in told(nothing, "1")["What it is"]


def test_the_command_says_the_same(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(run.path), "1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["trial"] == 1
    assert [section["title"] for section in document["sections"]][:2] == ["What it is", "What was done"]
    assert main(["explain", str(run.path), "none"]) == 2
    assert "no candidate is called 'none'" in capsys.readouterr().err


def test_a_candidate_without_a_file_has_no_layers(run: RunFolder) -> None:
    assert changes_of(run, "0" * 12) == ()
