"""The recipe for whoever has none: its limit is the usual one, or what so few samples can tell; it says which."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from compressor.api.auto import auto_recipe
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.engine.trained import Glance
from compressor.graph.capture import capture
from compressor.models.small_cnn import digits_cnn
from compressor.recipe.read import read_text
from compressor.task.agreement import Agreement


@pytest.mark.parametrize(
    ("error", "limit", "said"),
    [(0.002, 0.01, "of accuracy, on validation data"), (0.03, 0.03, "one standard error of 150 validation samples")],
)
def test_the_limit_follows_the_standard_error_where_a_point_could_not_be_told(
    error: float, limit: float, said: str
) -> None:
    data = load_data(DataSpec(name="digits"))
    network, seen = capture(digits_cnn(), data.input_shape), Glance(0.9, None, "", 150, error)
    text = auto_recipe(network, data, {}, source={"data": {"name": "digits"}}, seen=seen, pace=1e-4)
    assert said in text
    phases = '\n[[phases]]\nname = "chosen"\n'
    assert read_text(text + phases, "auto", []).constraints.max_drop == limit


@pytest.mark.parametrize(
    ("like", "limit"), [("numbers", 0.05), ({"output": "numbers"}, 0.05), ("classification", 0.01)]
)
def test_numbers_that_are_to_stay_near_may_be_off_by_more_than_answers(like: Any, limit: float) -> None:
    data = replace(load_data(DataSpec(name="digits")), task=Agreement(like=like))
    network, seen = capture(digits_cnn(), data.input_shape), Glance(1.0, None, "", 150, 0.0)
    text = auto_recipe(network, data, {}, source={"data": {"name": "digits"}}, seen=seen, pace=1e-4)
    assert read_text(text + '\n[[phases]]\nname = "chosen"\n', "auto", []).constraints.max_drop == limit
