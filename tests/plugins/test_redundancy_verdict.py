"""From scores to a verdict: averages, tolerances, the gate."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from compressor_plugins.redundancy import Redundancy
from compressor_plugins.redundancy.arms import Arm, ArmScore
from compressor_plugins.redundancy.judging import FOUND, NOT_APPLICABLE, Tilings, judged
from compressor_plugins.redundancy.tilings import TilingName

from compressor.errors import PluginError, TrialError
from compressor.pilot import Judgement
from compressor.registry import PILOTS

SPEC = Redundancy(tilings=("DN", "MH", "CHB0", "GRI1"), sets=2, error_tolerance=0.01, loss_tolerance=0.05)


def scores(**changes: tuple[float, float]) -> list[ArmScore]:
    """By tiling: by how much error and loss lie above those of DN; the second set is harder for all."""
    rows: dict[TilingName, tuple[float, float]] = {"DN": (0.0, 0.0), "MH": (0.2, 1), "CHB0": (0.2, 1), "GRI1": (0.2, 1)}
    rows.update(changes)  # type: ignore[arg-type]
    return [
        ArmScore(Arm(name, number, 1), 0.3 + 0.1 * number + error, 1.0 + loss, 2.0)
        for name, (error, loss) in rows.items()
        for number in (1, 2)
    ]


def verdict(**changes: tuple[float, float]) -> Judgement:
    return judged(SPEC, scores(**changes))


def found(judgement: Judgement) -> Tilings:
    return FOUND.from_plain(judgement.found)


def test_the_largest_share_that_passes_counts() -> None:
    result = verdict(MH=(-0.02, -0.1), CHB0=(0.009, 0.04))
    assert result.applies
    assert found(result).dropped == 0.5
    assert found(result).redundant == ("DN", "MH", "CHB0")
    assert result.reason.startswith("50% of the pixels are not needed: CHB0")


@pytest.mark.parametrize("worse", [(0.02, 0.0), (0.0, 0.06)])
def test_error_and_loss_must_both_hold(worse: tuple[float, float]) -> None:
    assert not verdict(GRI1=worse).applies
    assert found(verdict(GRI1=(0.0, 0.0))).dropped == 0.75


def test_where_none_passes_the_method_does_not_apply() -> None:
    result = verdict(MH=(0.05, 0.1))
    assert not result.applies
    assert found(result).dropped == 0
    assert result.reason.startswith(NOT_APPLICABLE)
    assert "the nearest, MH, has +5.0 points of error and +0.10 of loss" in result.reason


def test_changes_are_paired_so_that_a_hard_set_does_not_count() -> None:
    (variant,) = [v for v in found(verdict(MH=(0.05, 0.1))).variants if v.name == "MH"]
    assert variant.error_change == pytest.approx(0.05)
    assert variant.error_spread == pytest.approx(0.0, abs=1e-9)
    assert variant.errors == pytest.approx((0.45, 0.55))


def test_a_tiling_with_a_missing_arm_is_left_out() -> None:
    rest = [score for score in scores(GRI1=(0, 0), MH=(0, 0)) if score.arm != Arm("GRI1", 2, 1)]
    result = found(judged(SPEC, rest))
    assert [variant.name for variant in result.variants] == ["DN", "MH", "CHB0"]
    assert result.dropped == 0.25


def test_without_a_whole_reference_there_is_no_verdict() -> None:
    rest = [score for score in scores() if score.arm != Arm("DN", 2, 1)]
    with pytest.raises(TrialError, match="the reference DN could not be trained"):
        judged(SPEC, rest)


def test_the_result_is_plain_data() -> None:
    result = judged(SPEC, scores(), stand_in=True)
    assert json.loads(json.dumps(result.found)) == result.found
    assert found(result).stand_in


def test_data_that_stand_in_say_so() -> None:
    assert not found(verdict()).stand_in
    assert found(judged(replace(SPEC, stand_in_for="Caltech-256"), scores())).stand_in


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tilings": ("MH", "GRI")}, "give 'DN'"),
        ({"tilings": ("DN",)}, "at least one other"),
        ({"tilings": ("DN", "MH", "MH")}, "each once"),
        ({"sets": 0}, "sets: expected 1 to 1000000; found 0"),
        ({"loss_tolerance": -0.1}, "loss_tolerance: expected a number that is not negative"),
    ],
)
def test_impossible_specs_are_said_in_one_line(values: dict[str, object], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        PILOTS.make("redundancy", values)
