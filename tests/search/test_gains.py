"""What earlier trials gained decides how far a plan is trained, and what an ended one would have reached."""

from __future__ import annotations

import math

import pytest
from search_support import metrics

from compressor.engine.candidate import Outcome
from compressor.engine.rungs import Reached, Rung
from compressor.search.gains import FEWEST, Gains, worth_of


def trial(early: float, late: float, status: str = "complete", share: float = 0.25) -> Outcome:
    reached = [Reached(share, early)] + [Reached(1.0, late)] * (status == "complete")
    return Outcome(status, metrics(late if status == "complete" else early), curve=tuple(reached))  # type: ignore[arg-type]


SOME = [trial(0.80, 0.80 + gain) for gain in (0.01, 0.02, 0.03, 0.04, -0.01)]


def test_the_largest_gain_is_allowed_for() -> None:
    assert Gains(SOME).after(0.25) == pytest.approx([0.01, 0.02, 0.03, 0.04, -0.01])
    (rung,) = Gains(SOME).rungs((0.25, 0.5), 0.06, 0.001)
    assert rung == Rung(0.25, pytest.approx(0.06 + 0.04 + 0.001))


def test_too_few_trials_and_unlimited_ones_have_no_rungs() -> None:
    assert Gains(SOME[: FEWEST - 1]).rungs((0.25,), 0.06, 0.0) == ()
    assert Gains([*SOME[1:], trial(0.8, 0.8, "stopped")]).rungs((0.25,), 0.06, 0.0) == ()
    assert Gains(SOME).rungs((0.25,), math.inf, 0.0) == ()


def test_a_trial_that_was_ended_early_would_have_become_better() -> None:
    gains = Gains(SOME)
    assert gains.still_to_come(trial(0.7, 0.7, "stopped")) == pytest.approx(0.02)  # the median
    assert gains.still_to_come(SOME[0]) == 0.0
    assert Gains([]).still_to_come(trial(0.7, 0.7, "stopped")) == 0.0


def test_a_plan_is_worth_what_nothing_smaller_and_faster_has_reached() -> None:
    front = [(0.01, -1.0, -0.5), (0.03, -2.0, -1.0), (0.02, -1.5, 0.2)]
    assert worth_of(0.06, -2.5, -1.5, front) == 0.06
    assert worth_of(0.06, -1.8, -0.8, front) == 0.03
    assert worth_of(0.06, -0.9, -0.4, front) == 0.01
    assert worth_of(0.005, -0.9, -0.4, front) == 0.005
    assert worth_of(0.06, -2.0, -1.0, front) == 0.06, "times that differ by less than they are measured decide nothing"
