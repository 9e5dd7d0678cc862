from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.recipe.toml import to_toml, to_value

texts = st.text(st.characters(blacklist_categories=["Cs"]))
scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=12
)


@given(st.dictionaries(texts, values, max_size=4))
def test_what_is_written_reads_back_equal(data: dict[str, object]) -> None:
    assert tomllib.loads(to_toml(data)) == data


def test_tables_come_after_the_values_they_would_swallow() -> None:
    text = to_toml({"a": {"b": 1}, "c": 2, "d": [{"e": 3}, {"e": 4}]})
    assert text == "c = 2\n\n[a]\nb = 1\n\n[[d]]\ne = 3\n\n[[d]]\ne = 4\n"


def test_none_has_no_form() -> None:
    with pytest.raises(TypeError, match="NoneType"):
        to_value(None)
