"""Values as numbers, and new values of old ones: always values that the space allows."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.engine.space import Parameter
from compressor.knobs import Choice, FloatRange, IntRange
from compressor.search.surrogate.encoding import Encoding, Values

PARAMETERS = (
    Parameter("a", Choice((False, True))),
    Parameter("a.count", IntRange(1, 9, 4), "a"),
    Parameter("a.kind", Choice(("x", "y", "z")), "a"),
    Parameter("tau", FloatRange(0.001, 10.0, log=True)),
    Parameter("share", FloatRange(0.0, 0.0)),
)
ENCODING = Encoding(PARAMETERS)


def is_allowed(values: Values) -> bool:
    """What is on has a value that its knob knows; what is off has none."""
    on = [p for p in PARAMETERS if p.when is None or values.get(p.when) is True]
    return set(values) == {p.name for p in on} and all(p.knob.contains(values[p.name]) for p in on)


@given(st.integers(0, 10_000))
def test_whatever_is_bred_is_allowed(seed: int) -> None:
    rng = random.Random(seed)
    left, right = ENCODING.by_chance(rng), ENCODING.by_chance(rng)
    for values in (left, right, ENCODING.mutated(left, rng), ENCODING.crossed(left, right, rng)):
        assert is_allowed(values)
        assert len(ENCODING.vector(values)) == 7
        assert all(0 <= number <= 1 for number in ENCODING.vector(values))


def test_numbers_say_what_is_on_and_where_in_its_range() -> None:
    on = {"a": True, "a.count": 9, "a.kind": "y", "tau": 0.1, "share": 0.0}
    assert ENCODING.vector(on) == [1, 1, 0, 1, 0, pytest.approx(0.5), 0.5]
    assert ENCODING.vector({"a": False, "tau": 10.0, "share": 0.0}) == [0, 0, 0, 0, 0, 1, 0.5]


def test_a_mutation_changes_something() -> None:
    rng = random.Random(0)
    values = ENCODING.by_chance(rng)
    assert sum(ENCODING.mutated(values, rng) != values for _ in range(50)) > 35


def test_a_plugin_at_one_site_and_at_many_are_both_drawn_however_many_plugins_are_on() -> None:
    """Drawn with one share for all, a plan of most plugins would have most sites of each."""
    names = [f"p.{plugin}" for plugin in "abcdef"]
    sites = [f"p.a.s{number}" for number in range(10)]
    switch = Choice((False, True))
    encoding = Encoding([*(Parameter(name, switch) for name in names), *(Parameter(s, switch, "p.a") for s in sites)])
    rng = random.Random(0)
    drawn = [encoding.by_chance(rng) for _ in range(2000)]
    many = [values for values in drawn if values["p.a"] and sum(bool(values[name]) for name in names) >= 4]
    counts = [sum(bool(values[site]) for site in sites) for values in many]
    assert counts.count(1) > len(many) / 20
    assert sum(count >= 8 for count in counts) > len(many) / 20


SITES = Encoding(
    [
        Parameter("b", Choice((False, True))),
        Parameter("b.conv", Choice((False, True)), "b"),
        Parameter("b.conv:ratio", Choice((0.5, 0.25)), "b"),
        Parameter("c", Choice((False, True))),
    ]
)


def test_values_that_come_to_the_same_plan_have_the_same_vector() -> None:
    """A plugin without a site does nothing, and so do the knobs of a site that is off."""
    nothing = {"b": False, "c": False}
    assert SITES.vector({"b": True, "b.conv": False, "b.conv:ratio": 0.25, "c": False}) == SITES.vector(nothing)
    assert SITES.vector({"b": True, "b.conv": True, "b.conv:ratio": 0.25, "c": False}) == [1, 1, 0, 1, 0]


def test_a_plugin_that_is_always_on_has_no_switch_and_its_sites_have() -> None:
    always = Encoding([Parameter("b.conv", Choice((False, True))), Parameter("b.conv:ratio", Choice((0.5, 0.25)))])
    assert always.vector({"b.conv": False, "b.conv:ratio": 0.25}) == [0, 0, 0]
    assert always.vector({"b.conv": True, "b.conv:ratio": 0.25}) == [1, 0, 1]


def test_plugins_are_named_that_have_something_to_do() -> None:
    assert SITES.plugins({"b": True, "b.conv": False, "b.conv:ratio": 0.5, "c": True}) == ["c"]


@given(st.integers(0, 10_000))
def test_what_is_bred_without_a_plugin_has_none_of_its_knobs(seed: int) -> None:
    rng, without = random.Random(seed), ENCODING.without("a")
    for values in (without.by_chance(rng), without.completed(ENCODING.by_chance(rng), rng)):
        assert is_allowed(values)
        assert values["a"] is False
        assert without.plugins(without.mutated(values, rng)) == []
