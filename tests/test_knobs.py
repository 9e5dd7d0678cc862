"""Knobs are sets of values: samples, defaults and nearest values are members."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.knobs import Choice, FloatRange, IntRange, Knob, Value, defaults, describe

values = st.one_of(st.booleans(), st.integers(-50, 50), st.floats(-50, 50), st.text(max_size=4))
int_ranges = st.builds(
    lambda low, span, step: IntRange(low, low + span, step), st.integers(-20, 20), st.integers(0, 40), st.integers(1, 7)
)
float_ranges = st.builds(lambda low, span: FloatRange(low, low + span), st.floats(-20, 20), st.floats(0, 40))
choices = st.builds(lambda options: Choice(tuple(options)), st.lists(values, min_size=1, max_size=5))
knobs = st.one_of(int_ranges, float_ranges, choices)


@given(knobs, st.integers(0, 2**32), values)
def test_default_samples_and_nearest_are_members(knob: Knob, seed: int, value: Value) -> None:
    assert knob.contains(knob.default)
    assert knob.contains(knob.sample(random.Random(seed)))
    assert knob.contains(knob.nearest(value))


@given(knobs, values)
def test_nearest_of_a_member_is_itself(knob: Knob, value: Value) -> None:
    if knob.contains(value):
        assert knob.nearest(value) == value


@given(int_ranges, st.integers(-60, 60))
def test_nearest_whole_number_is_nearest(knob: IntRange, value: int) -> None:
    members = range(knob.low, knob.high + 1, knob.step)
    assert abs(knob.nearest(value) - value) == min(abs(member - value) for member in members)


def test_true_is_not_one() -> None:
    assert not Choice((1, 2)).contains(True)
    assert not IntRange(0, 1).contains(True)
    assert not FloatRange(0, 1).contains(True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Choice(()),
        lambda: IntRange(2, 1),
        lambda: IntRange(1, 2, 0),
        lambda: FloatRange(1, 0),
        lambda: FloatRange(0, 1, log=True),
    ],
)
def test_impossible_knobs_cannot_be_made(make: object) -> None:
    with pytest.raises(ValueError):
        make()  # type: ignore[operator]


def test_described_for_people() -> None:
    assert describe(Choice((True, False))) == "{True, False}"
    assert describe(IntRange(1, 9, 2)) == "1…9 step 2"
    assert describe(FloatRange(0.1, 1, log=True)) == "0.1…1 log"
    assert defaults({"a": IntRange(3, 4), "b": Choice(("x",))}) == {"a": 3, "b": "x"}
