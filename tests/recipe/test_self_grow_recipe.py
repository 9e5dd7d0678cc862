"""``recipes/self_grow.toml``: the loop of Lee's "Self-Optimizing Networks" on ResNet-8, and in miniature on digits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.engine.baseline import measure_baseline
from compressor.engine.candidate import Constraints
from compressor.engine.plan import Decision, Plan
from compressor.engine.space import SearchSpace, build_space
from compressor.engine.survey import surveyor
from compressor.engine.trial import TrialSettings, load_candidate, run_trial
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.models import build
from compressor.models.resnet import BasicBlock
from compressor.recipe.model import Recipe
from compressor.recipe.read import read_recipe
from compressor.search.seeds import seeds_of

TINY = [
    "training.epochs=1",
    "training.steps_per_epoch=4",
    "phases.loop.rounds=2",
    "phases.loop.stop.min_gain=-1.0",
    "phases.loop.phases.grow.limits.max_latency=999.0",
    "phases.loop.phases.grow.limits.max_size=999.0",
    "phases.loop.phases.remove.training.epochs=1",
    "phases.loop.phases.remove.timed=false",
]


def first_plan(recipe: Recipe, network: Network) -> tuple[SearchSpace, Plan]:
    space = build_space(recipe.phases, surveyor(network), recipe.training)
    seeds, notes = seeds_of(recipe.search, space)
    assert not notes
    assert len(seeds) >= recipe.search.trials
    return space, space.plan(seeds[0][1])


def small_residual_network() -> nn.Module:
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)]
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), BasicBlock(8, 8, 1), *head)


def test_it_searches_the_loop_on_the_network_it_is_for() -> None:
    network = capture(build("resnet8"), (3, 32, 32))
    space, plan = first_plan(read_recipe("self_grow"), network)
    assert not space.notes
    assert {parameter.name for parameter in space.parameters} == {
        "loop.grow.self-grow.operator",
        "loop.grow.self-grow.amount",
        "loop.remove.layer-removal.tau",
    }
    (loop,) = plan.phases
    assert [phase.name for phase in loop.phases] == ["grow", "remove"]
    assert loop.stop is not None
    assert loop.phases[0].limits is not None
    removal = loop.phases[1].steps[0]
    assert isinstance(removal, Decision)
    assert (removal.policy, removal.values) == ("threshold", {"tau": 0.02})


def test_in_miniature_it_grows_in_every_round_and_can_be_replayed(tmp_path: Path) -> None:
    recipe = read_recipe("self_grow", TINY)
    data = load_data(DataSpec(name="digits", validation=200, limit=300))
    torch.manual_seed(0)
    baseline = measure_baseline(capture(small_residual_network(), data.input_shape), data)
    _, plan = first_plan(recipe, baseline.network)
    outcome = run_trial(plan, baseline, data, TrialSettings(Constraints(), calibration=64), seed=0, folder=tmp_path)
    assert outcome.status == "complete", outcome.reason
    assert [(stage.phase, stage.round) for stage in outcome.stages] == [
        (f"loop.{name}", number) for number in (1, 2) for name in ("grow", "remove")
    ]
    assert [stage.edits for stage in outcome.stages if stage.phase == "loop.grow"] == [1, 1]
    rebuilt = load_candidate(tmp_path, baseline, baseline.evidence(data, 64))
    assert outcome.metrics is not None
    assert rebuilt.parameter_count == outcome.metrics.params


def test_its_limits_hold_every_growth_to_the_budget(tmp_path: Path) -> None:
    recipe = read_recipe("self_grow", [*TINY, "phases.loop.phases.grow.limits.max_size=1.0"])
    data = load_data(DataSpec(name="digits", validation=200, limit=300))
    baseline = measure_baseline(capture(small_residual_network(), data.input_shape), data)
    _, plan = first_plan(recipe, baseline.network)
    (loop,) = plan.phases
    grow = replace(loop.phases[0], training=None)
    outcome = run_trial(Plan((grow,)), baseline, data, TrialSettings(calibration=64), seed=0, folder=tmp_path)
    assert outcome.stages[0].edits == 0
    assert "over max_size by" in outcome.stages[0].note
