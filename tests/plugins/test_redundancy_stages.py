"""The three stages in the report: what the tables say, and that a stand-in is called one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from compressor_plugins.redundancy import Redundancy
from compressor_plugins.redundancy.arms import Arm, ArmScore, arms_of
from compressor_plugins.redundancy.judging import judged
from compressor_plugins.redundancy.stages import pixels_dropped, sections
from qualities import accuracy_of
from sample_run import sample_run

from compressor.data.dataset import Data
from compressor.data.held import HeldSplit
from compressor.engine.candidate import Outcome, StageFigures
from compressor.engine.plan import Edit, Phase, Plan
from compressor.recipe.model import PilotSpec
from compressor.recipe.read import write_recipe
from compressor.report.gather import Facts, Trial, gather
from compressor.report.page.render import page
from compressor.search.result import PilotResult, Verdict

SPEC = Redundancy(tilings=("DN", "MH", "CHB0", "GRI1"), sets=2, stand_in_for="Caltech-256")
DATA = Data(
    "cifar-10", "", *(HeldSplit(torch.zeros(2, 1, 2, 2), torch.arange(2)),) * 2, ("a", "b"), (0.0,), (1.0,), list
)  # type: ignore[arg-type]
ERRORS = {"DN": 0.30, "MH": 0.29, "CHB0": 0.305, "GRI1": 0.40}


def piloted(**errors: float) -> PilotResult:
    known = {**ERRORS, **errors}
    scores = [ArmScore(arm, known[arm.tiling] + 0.01 * arm.set, 1.0, 2.0) for arm in arms_of(SPEC)]
    verdict = judged(SPEC, scores)
    return PilotResult("redundancy", verdict.applies, verdict.reason, SPEC.describe(DATA), 8, 16.0, verdict.found)


def masked(number: int, mask: str, accuracy: float) -> Trial:
    plan = Plan((Phase("mask", (Edit("input-mask", "conv1", {"mask": mask}),)), Phase("student")))
    stages = (stage("mask", accuracy), stage("student", accuracy - 0.2))
    return Trial(number, f"{number}", plan.describe(), Outcome("complete", stages=stages), plan)


def stage(phase: str, accuracy: float) -> StageFigures:
    return StageFigures(phase, 1, accuracy, params=10, macs=20, size_bytes=30, edits=1, epochs=2)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    return gather(sample_run(tmp_path_factory.mktemp("stages") / "run"))


@pytest.fixture
def facts(plain: Facts) -> Facts:
    """A run whose three stages are over."""
    controls = {"scratch": accuracy_of(0.91), "unchanged": accuracy_of(0.96)}
    trials = (masked(0, "010111010", 0.93), masked(1, "000101000", 0.94), masked(2, "000101000", 0.90))
    return replace(
        plain,
        result=replace(plain.result, pilot=piloted(), controls=controls),
        trials=trials,
        controls={"unchanged": Outcome("complete", stages=(stage("mask", 0.955), stage("student", 0.96)))},
    )


@pytest.mark.parametrize(
    ("mask", "share"),
    [
        ("111111111", 0.0),
        *((mask, 0.25) for mask in ("010111010", "111101111", "101111101", "111010111")),
        *((mask, 0.5) for mask in ("101010101", "010101010")),
        *((mask, 0.75) for mask in ("101000101", "000010000", "010000010", "000101000")),
        ("1001", 0.5),
    ],
)
def test_a_mask_says_which_share_of_the_pixels_it_drops(mask: str, share: float) -> None:
    assert pixels_dropped(mask) == share


def test_a_run_without_a_pilot_study_has_no_stages(plain: Facts) -> None:
    assert sections(SPEC, plain) == []
    assert "By the plugins" not in page(plain)


def test_the_first_stage_shows_every_tiling_against_the_whole_image(facts: Facts) -> None:
    (first, *_) = sections(SPEC, facts)
    rows = {row[0]: row[1:] for row in first.content.rows}
    assert rows["DN"] == ("0 %", "–", "31.5 %", "–", "1.000", "–", "reference")
    assert rows["GRI1"][:4] == ("75 %", "white", "41.5 %", "+10.00 ±0.0") or rows["GRI1"][3].startswith("+10.00")
    assert [rows[name][-1] for name in ("MH", "CHB0", "GRI1")] == ["to spare", "to spare", "needed"]
    assert first.content.marked == 2
    assert any("50% of the pixels are not needed: CHB0" in line for line in first.lines)


def test_a_stand_in_is_called_one(facts: Facts) -> None:
    (first, *_) = sections(SPEC, facts)
    assert "cifar-10, a stand-in for Caltech-256: the figures say nothing about Caltech-256" in first.lines[0]
    assert page(replace(facts, told=(first,))).count("a stand-in for Caltech-256") >= 2
    assert Redundancy().describe(DATA) == "cifar-10"
    assert Redundancy().describe(replace(DATA, stand_in=True)) == "cifar-10, itself a stand-in"


def test_the_second_stage_shows_every_mask_after_its_own_phase(facts: Facts) -> None:
    second = sections(SPEC, facts)[1]
    rows = {row[0]: row[1:] for row in second.content.rows}
    assert list(rows) == ["none, baseline", "none, trained on", "010111010", "000101000"]
    assert rows["none, trained on"][1] == "95.50 %"
    assert rows["010111010"] == ("25 %", "93.00 %", "7.00 %", "+2.10", "20", "within")
    assert rows["000101000"][1:3] == ("94.00 %", "6.00 %")
    assert rows["000101000"][-1] == "beyond"
    assert second.content.rows[second.content.marked or 0][0] == "000101000"
    assert "The lowest error has 000101000, which drops 75% of the pixels" in second.lines[0]


def test_the_third_stage_sets_the_student_beside_its_controls(facts: Facts) -> None:
    third = sections(SPEC, facts)[2]
    rows = {row[0]: row[1:] for row in third.content.rows}
    assert list(rows) == ["teacher", "student", "student, scratch", "teacher, longer"]
    assert rows["teacher, longer"][2] == rows["teacher"][2]
    assert rows["student, scratch"][2] == rows["student"][2]
    assert rows["student"][4] == "1.24×"


def test_students_beyond_the_limits_are_shown_too(facts: Facts, plain: Facts) -> None:
    result = replace(facts.result, best=None, front=(), controls={})
    third = sections(SPEC, replace(facts, result=result, trials=plain.trials))[-1]
    assert third.title.startswith("Stage 3")
    assert "No student keeps within the limits" in third.lines[0]
    assert third.content.rows[0][0] == "teacher"
    shown = [row[1] for row in third.content.rows[1:]]
    assert shown == sorted(shown, reverse=True)
    assert 1 <= len(shown) <= 3


def test_all_three_are_in_the_page_in_order(facts: Facts) -> None:
    html = page(replace(facts, told=tuple(sections(SPEC, facts))))
    places = [html.index(f"<h3>Stage {number}") for number in (1, 2, 3)]
    assert places == sorted(places)


def test_where_the_method_does_not_apply_the_report_shows_why(tmp_path: Path) -> None:
    """Read back from a run whose recipe asks for the study."""
    pilot = piloted(MH=0.5, CHB0=0.5)
    run = sample_run(tmp_path / "run", helped=False, best=False)
    write_recipe(
        replace(run.recipe(), pilot=PilotSpec("redundancy", {"stand_in_for": "Caltech-256"})), run.path / "recipe.toml"
    )
    result = replace(run.result(), verdict=Verdict(False, (pilot.reason,)), pilot=pilot)
    run.write_result(replace(result, samples={"validation": 1000}))
    facts = gather(run)
    assert [section.title[:7] for section in facts.told] == ["Stage 1"]
    html = page(facts)
    assert "The method does not apply to this data" in html
    assert "The test split has not been opened." in html


def test_a_tiling_that_could_not_be_trained_is_not_in_the_table() -> None:
    scores = [ArmScore(Arm("DN", number, 1), 0.3, 1.0, 1.0) for number in (1, 2)]
    assert not judged(SPEC, scores).applies
