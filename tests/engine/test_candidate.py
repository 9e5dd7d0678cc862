"""Limits are relative to the measured baseline, and say by how much they are overstepped."""

from __future__ import annotations

from dataclasses import replace

import pytest
from qualities import accuracy_of

from compressor.engine.candidate import Constraints, Latency, Metrics

BASELINE = Metrics(1000, 4000, 50_000, accuracy_of(0.9), Latency(20.0))


def candidate(size: int = 2000, speedup: float = 1.25, accuracy: float = 0.88) -> Metrics:
    return Metrics(500, size, 25_000, accuracy_of(accuracy), Latency(16.0, speedup, speedup - 0.01, speedup + 0.01))


def test_no_limits_nothing_to_overstep() -> None:
    assert Constraints().excess(candidate(), BASELINE) == {}


def test_each_limit_in_its_own_unit() -> None:
    limits = Constraints(max_drop=0.01, max_size=0.25, max_latency=1.0, max_macs=0.5, max_params=0.4)
    excess = limits.excess(candidate(), BASELINE)
    assert excess == pytest.approx(
        {"max_drop": 0.01, "max_size": 0.25, "max_latency": 1 / 1.26 - 1, "max_macs": 0.0, "max_params": 0.1}
    )


@pytest.mark.parametrize(("high", "over"), [(1.02, False), (0.99, True)])
def test_a_limit_on_time_is_overstepped_where_the_whole_interval_lies_beyond_it(high: float, over: bool) -> None:
    timed = replace(candidate(), latency=Latency(20.0, 0.98, 0.95, high))
    assert (Constraints(max_latency=1.0).excess(timed, BASELINE)["max_latency"] > 0) == over


def test_a_limit_just_met_is_met() -> None:
    assert Constraints(max_size=0.5).excess(candidate(size=2000), BASELINE)["max_size"] <= 0
    assert Constraints(max_size=0.5).excess(candidate(size=2001), BASELINE)["max_size"] > 0


@pytest.mark.parametrize(("right", "over"), [(145, False), (144, True)])
def test_three_answers_of_150_are_two_points_whatever_floats_make_of_it(right: int, over: bool) -> None:
    before, after = replace(BASELINE, quality=accuracy_of(148 / 150)), candidate(accuracy=right / 150)
    assert (Constraints(max_drop=0.02).excess(after, before)["max_drop"] > 0) == over
