"""Axes of plots hold what they are given, at round values; one far outlier squeezes nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.report.page.scales import around, axis

FIGURES = st.floats(-1e9, 1e9) | st.sampled_from([float("nan"), float("inf"), 0.0])


@given(st.lists(FIGURES, max_size=8))
def test_every_value_has_a_place_in_its_order(values: list[float]) -> None:
    drawn = axis(values, str)
    places = [drawn.place(value) for value in sorted(value for value in values if value == value)]
    assert places == sorted(places)
    assert all(0 <= place <= 1 for place in places)
    assert 1 <= len(drawn.ticks) <= 7
    assert all(drawn.holds(tick.value) for tick in drawn.ticks)


@pytest.mark.parametrize(
    ("values", "ticks"), [((0.912, 0.967), [0.92, 0.94, 0.96]), ((1024, 65536), [1024, 4096, 16384, 65536])]
)
def test_marks_are_round(values: tuple[float, ...], ticks: list[float]) -> None:
    assert [tick.value for tick in axis(values, str).ticks] == pytest.approx(ticks)


def test_an_outlier_is_left_at_the_end() -> None:
    kept = around([0.95, 0.97], [0.94, 0.1, float("nan")])
    assert kept == [0.95, 0.97, 0.94]
    assert not axis(kept, str).holds(0.1)
    assert axis(kept, str).place(0.1) == 0.0
