"""``recipes/joint.toml`` on LeNet; ``fashion_tiny.toml`` and ``fashion_micro.toml`` on the network they narrow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from compressor.data.dataset import Data, Split
from compressor.data.held import HeldSplit
from compressor.engine.apply import apply_edits
from compressor.engine.baseline import measure_baseline
from compressor.engine.plan import Plan
from compressor.engine.resolve import resolve
from compressor.engine.sensitivity import Sensitivities
from compressor.engine.space import SearchSpace, build_space
from compressor.engine.survey import surveyor
from compressor.engine.trial import TrialSettings, run_trial
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.models import find
from compressor.recipe.model import Recipe
from compressor.recipe.read import read_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
LIMITS = {"fashion_tiny": 20 * 1024, "fashion_micro": 11 * 1024}
"""Bytes the result has to stay under."""


def network(name: str) -> Network:
    torch.manual_seed(0)
    entry = find(name)
    return capture(entry.build(), entry.input_shape, name)


def space(recipe: Recipe, of: Network) -> SearchSpace:
    return build_space(recipe.phases, surveyor(of), recipe.training)


@pytest.mark.parametrize(
    ("name", "model", "bits"),
    [
        ("joint", "lenet", {"binarize", "quantize-weights"}),
        ("joint_cifar", "resnet8", {"binarize", "quantize", "quantize-weights"}),
    ],
)
def test_a_joint_search_holds_every_method_and_nothing_is_set_by_hand(name: str, model: str, bits: set[str]) -> None:
    recipe = read_recipe(RECIPES / f"{name}.toml")
    found = space(recipe, network(model))
    assert found.notes == ()
    searched = {use.name for phase in found.phases for use in phase.plugins}
    assert searched >= {"input-mask", "layer-removal", "magnitude-prune", "conv3d", "meta-head", "self-grow"}
    assert searched >= bits
    assert recipe.search.seeds == ()
    assert recipe.search.sampler == "surrogate"


def plan_of(name: str) -> tuple[Plan, Network]:
    wide = network("compact-wide")
    recipe = read_recipe(RECIPES / f"{name}.toml")
    evidence = Evidence([(torch.randn(4, *wide.signature.input.shape), torch.arange(4))])
    return resolve(space(recipe, wide).plan({}), wide, Sensitivities(), evidence), wide


@pytest.mark.parametrize(("name", "widths"), [("fashion_tiny", (16, 32, 64)), ("fashion_micro", (16, 32, 32))])
def test_the_wide_network_is_narrowed_below_its_limit(name: str, widths: tuple[int, ...]) -> None:
    plan, wide = plan_of(name)
    narrow = wide.fork()
    apply_edits(narrow, plan.edits, None)
    shapes = [leaf.weight.shape for _, leaf in narrow.leaves() if hasattr(leaf, "bits") and leaf.weight.dim() == 4]
    assert tuple(shape[0] for shape in shapes) == widths
    assert len(to_onnx(narrow)) < LIMITS[name]


def striped(count: int, seed: int) -> Split:
    """Images of two classes: bars that lie, and bars that stand."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    bars = (torch.arange(28) // 4 % 2 * 200).float().expand(count, 1, 28, 28)
    images = torch.where(labels.view(-1, 1, 1, 1) == 1, bars, bars.transpose(2, 3))
    noise = torch.randint(0, 50, images.shape, generator=generator)
    return HeldSplit((images + noise).to(torch.uint8), labels)


def test_a_short_run_goes_through_both_phases_and_learns(tmp_path: Path) -> None:
    plan, wide = plan_of("fashion_micro")
    data = Data(
        "bars", "a test", striped(256, 0), striped(64, 1), ("lie", "stand"), (0.5,), (0.4,), lambda: striped(64, 2)
    )
    short = Plan(tuple(replace(p, training=p.training and replace(p.training, epochs=3)) for p in plan.phases))
    outcome = run_trial(
        short, measure_baseline(wide, data), data, TrialSettings(calibration=64), seed=0, folder=tmp_path
    )
    assert outcome.status == "complete", outcome.reason
    assert outcome.metrics is not None
    assert outcome.metrics.size_bytes < LIMITS["fashion_micro"]
    assert outcome.metrics.quality.validation > 0.9
