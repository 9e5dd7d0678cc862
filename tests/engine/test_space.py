"""The search space: what may be chosen on this network, and choices back into a plan."""

from __future__ import annotations

import pytest
from torch import nn

from compressor.engine.baseline import Baseline
from compressor.engine.plan import Decision
from compressor.engine.space import PhaseSpec, PluginUse, build_space
from compressor.engine.survey import surveyor
from compressor.errors import PluginError, RecipeError
from compressor.graph.capture import capture
from compressor.train.spec import TrainingSpec

TRAINING = TrainingSpec(epochs=2)


def space(baseline: Baseline, *uses: PluginUse, **phase: object):  # type: ignore[no-untyped-def]
    return build_space([PhaseSpec("main", uses, **phase)], surveyor(baseline.network), TRAINING)  # type: ignore[arg-type]


def test_a_switch_per_plugin_and_its_knobs_behind_it(baseline: Baseline) -> None:
    found = space(baseline, PluginUse("binarize"))
    switch, *inner = found.parameters
    assert switch.name == "main.binarize"
    assert {parameter.name for parameter in inner} >= {"main.binarize.count", "main.binarize.follow"}
    assert all(parameter.when == switch.name for parameter in inner)


def test_a_required_plugin_has_no_switch(baseline: Baseline) -> None:
    found = space(baseline, PluginUse("binarize", required=True))
    assert all(parameter.when is None and parameter.name != "main.binarize" for parameter in found.parameters)
    assert [step.plugin for step in found.plan({}).phases[0].steps] == ["binarize"]


def test_values_fixed_by_hand_are_not_searched(baseline: Baseline) -> None:
    found = space(baseline, PluginUse("binarize", values={"count": 2}))
    assert "main.binarize.count" not in {parameter.name for parameter in found.parameters}
    (step,) = found.plan({"main.binarize": True}).phases[0].steps
    assert isinstance(step, Decision)
    assert step.values["count"] == 2


def test_an_unknown_fixed_value_is_named(baseline: Baseline) -> None:
    with pytest.raises(PluginError, match=r"main\.binarize: no knob 'cuont'.*count"):
        space(baseline, PluginUse("binarize", values={"cuont": 2}))


def test_nothing_chosen_makes_an_empty_plan(baseline: Baseline) -> None:
    assert space(baseline, PluginUse("binarize")).plan({"main.binarize": False}).phases == ()


def test_no_epochs_means_no_training(baseline: Baseline) -> None:
    found = space(baseline, PluginUse("binarize", required=True), training=TrainingSpec(epochs=0))
    assert found.plan({}).phases[0].training is None
    assert space(baseline, PluginUse("binarize", required=True)).plan({}).phases[0].training == TRAINING


def test_a_plugin_without_sites_is_left_out_with_the_reason() -> None:
    network = capture(nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)), (1, 8, 8))
    uses = (PluginUse("binarize"), PluginUse("layer-removal", only=("nowhere*",)))
    found = build_space([PhaseSpec("main", uses)], surveyor(network), TRAINING)
    assert {parameter.name.split(".")[1] for parameter in found.parameters} == {"binarize"}
    assert any(note.startswith("main.layer-removal: no site in this network") for note in found.notes)


def test_a_recipe_that_finds_nothing_is_refused(baseline: Baseline) -> None:
    with pytest.raises(RecipeError, match="no plugin of the recipe finds a site"):
        space(baseline, PluginUse("binarize", skip=("*",)))
