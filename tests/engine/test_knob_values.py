"""At which values of its knobs a site is measured."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from compressor.engine.knob_values import MOST, knob_values
from compressor.knobs import Choice, FloatRange, IntRange, Knob

KNOBS: dict[str, Knob] = {"bits": Choice((8, 4)), "clip": Choice(("max", "error"))}
ANY = st.one_of(
    st.lists(st.integers(), min_size=1, unique=True).map(lambda options: Choice(tuple(options))),
    st.tuples(st.integers(1, 5), st.integers(5, 40)).map(lambda ends: IntRange(*ends)),
    st.floats(0.1, 1).map(lambda low: FloatRange(low, 2.0)),
)


def test_each_option_alone_and_the_defaults_first() -> None:
    assert knob_values(KNOBS, [{}]) == [
        {"bits": 8, "clip": "max"},
        {"bits": 4, "clip": "max"},
        {"bits": 8, "clip": "error"},
    ]


def test_what_is_fixed_is_measured_as_it_is_fixed_by_whomever() -> None:
    assert knob_values(KNOBS, [{"bits": 4, "clip": "error", "count": 3}]) == [{"bits": 4, "clip": "error"}]
    assert knob_values(KNOBS, [{"bits": 4, "clip": "max"}, {"bits": 8, "clip": "max"}]) == [
        {"bits": 4, "clip": "max"},
        {"bits": 8, "clip": "max"},
    ]


@given(st.dictionaries(st.sampled_from("abc"), ANY))
def test_few_values_of_any_knob_each_one_that_it_has(knobs: dict[str, Knob]) -> None:
    found = knob_values(knobs, [{}])
    assert all(knobs[name].contains(value) for choice in found for name, value in choice.items())
    assert all(choice.keys() == knobs.keys() for choice in found)
    assert len(found) <= 1 + MOST * len(knobs)
    assert all(choice not in found[:index] for index, choice in enumerate(found))
