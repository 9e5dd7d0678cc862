from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.errors import RecipeError
from compressor.recipe.overrides import apply_overrides, parse_override
from compressor.recipe.toml import to_value

texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\n"), min_size=1)
scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts


@given(st.lists(st.from_regex(r"[A-Za-z0-9_-]+", fullmatch=True), min_size=1, max_size=4), scalars)
def test_toml_values_are_read_as_toml(path: list[str], value: object) -> None:
    override = parse_override(f"{'.'.join(path)}={to_value(value)}")
    assert override.path == tuple(path)
    assert override.value == value
    assert type(override.value) is type(value)


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("search.sampler=random", ("search", "sampler"), "random"),
        ("data.folder=/tmp/some pictures", ("data", "folder"), "/tmp/some pictures"),
        ("x=", ("x",), ""),
        ("x==3", ("x",), "=3"),
        ('"a.b".c = 1', ("a.b", "c"), 1),
        ("x=[1, 2]", ("x",), [1, 2]),
        ("x=[1, 2", ("x",), "[1, 2"),
        ("x={a = 1}", ("x",), {"a": 1}),
        ("x=C:\\temp", ("x",), "C:\\temp"),
        ("x=# no comment", ("x",), "# no comment"),
    ],
)
def test_values(text: str, path: tuple[str, ...], value: object) -> None:
    override = parse_override(text)
    assert (override.path, override.value) == (path, value)


@pytest.mark.parametrize("text", ["", "trials", "=3", "a b=3", "a..b=3", "a=1\nb=2", "[a]=3"])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="--set"):
        parse_override(text)


def put(raw: dict[str, Any], *texts: str) -> dict[str, Any]:
    return apply_overrides(raw, [parse_override(text) for text in texts])[0]


def test_entries_of_lists_go_by_number_or_name() -> None:
    raw = {"phases": [{"name": "one"}, {"name": "two"}]}
    assert put(raw, "phases.1.rounds=2")["phases"][1] == {"name": "two", "rounds": 2}
    assert put(raw, "phases.two.training.epochs=2")["phases"][1]["training"] == {"epochs": 2}
    assert raw == {"phases": [{"name": "one"}, {"name": "two"}]}


def test_later_overrides_win_and_places_are_known() -> None:
    result, places = apply_overrides({}, [parse_override("a.b=1"), parse_override("a.b=2")])
    assert result == {"a": {"b": 2}}
    assert places == {("a", "b"): "a.b=2"}


def test_a_missing_entry_lists_those_there_are() -> None:
    with pytest.raises(RecipeError, match="no entry 'tow'; did you mean 'two'"):
        put({"phases": [{"name": "two"}]}, "phases.tow.rounds=2")


def test_a_value_is_no_table() -> None:
    with pytest.raises(RecipeError, match="'y' is no key here: the value before it is 3"):
        put({"x": 3}, "x.y=1")


def test_another_source_of_data_takes_the_place_of_the_recipes_own() -> None:
    raw = {"data": {"name": "digits", "limit": 5}}
    replaced, _ = apply_overrides(raw, [parse_override("data.npz=own.npz")])
    assert replaced == {"data": {"npz": "own.npz", "limit": 5}}
    both, _ = apply_overrides(raw, [parse_override("data.npz=own.npz"), parse_override("data.name=mnist")])
    assert both == {"data": {"npz": "own.npz", "name": "mnist", "limit": 5}}  # which the spec then refuses
    emptied, _ = apply_overrides(raw, [parse_override("data.npz=")])
    assert emptied["data"]["name"] == "digits"
