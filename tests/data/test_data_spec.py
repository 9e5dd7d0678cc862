from __future__ import annotations

from typing import Any

import pytest

from compressor.data.spec import DataSpec
from compressor.errors import DataError


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, "exactly one of name, folder, npz, table, function; given: none"),
        ({"name": "digits", "npz": "a.npz"}, "given: name, npz"),
        ({"name": "digits", "validation": 1.5}, "data.validation: a share lies between 0 and 1, not 1.5"),
        ({"name": "digits", "validation": 0}, "data.validation: at least one sample"),
        ({"name": "digits", "test": -3}, "data.test: at least one sample"),
        ({"name": "digits", "limit": -1}, "data.limit: -1 is negative"),
        ({"name": "digits", "calibration": 0}, "data.calibration: at least one"),
        ({"name": "digits", "mean": (0.5,)}, "give both"),
        ({"name": "digits", "mean": (0.5,), "std": (0.0,)}, "data.std: every value must be positive"),
        ({"name": "digits", "mean": (0.5,), "std": (1.0,), "normalise": "none"}, "contradicts"),
    ],
)
def test_a_contradiction_is_refused_in_one_line(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DataError) as caught:
        DataSpec(**fields)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_title_is_what_was_given() -> None:
    assert DataSpec(name="digits").title == "digits"
    assert DataSpec(npz="some/file.npz").title == "some/file.npz"
