"""``recipes/conv3d_meta.toml``: its five combinations and their counts, and one of them in miniature."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from compressor_plugins.conv3d.layer import SameConv3d
from compressor_plugins.meta_head.layers import MetaLinear

from compressor.data.dataset import Data, Split
from compressor.data.held import HeldSplit
from compressor.engine.apply import apply_edits
from compressor.engine.baseline import measure_baseline
from compressor.engine.plan import Plan
from compressor.engine.resolve import resolve
from compressor.engine.sensitivity import Sensitivities
from compressor.engine.space import build_space
from compressor.engine.survey import surveyor
from compressor.engine.trial import TrialSettings, load_candidate, run_trial
from compressor.evidence import Evidence
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.network import Network
from compressor.models import build
from compressor.recipe.read import read_recipe
from compressor.search.seeds import seeds_of

RECIPE = str(Path(__file__).parents[2] / "recipes" / "conv3d_meta.toml")


@pytest.fixture(scope="module")
def t1() -> Network:
    torch.manual_seed(0)
    return capture(build("t1-conv2d"), (3, 32, 32))


def noise() -> Data:
    """Images nothing can be learned from."""
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        return HeldSplit(torch.rand(count, 3, 32, 32, generator=generator), torch.arange(count) % 10)

    names = tuple("abcdefghij")
    return Data("noise", "memory", split(64), split(32), names, (0.5,) * 3, (0.3,) * 3, lambda: split(32))


def plans(network: Network) -> list[Plan]:
    """What the search tries, in order."""
    recipe = read_recipe(RECIPE)
    space = build_space(recipe.phases, surveyor(network), recipe.training)
    seeds, notes = seeds_of(recipe.search, space)
    assert not notes
    assert len(seeds) == recipe.search.trials
    return [space.plan(values) for _, values in seeds]


def test_the_five_combinations_have_the_parameters_of_the_document_but_for_normalisation(t1: Network) -> None:
    evidence = Evidence([(torch.randn(64, 3, 32, 32), torch.zeros(64, dtype=torch.int64))])
    counts = []
    for plan in plans(t1):
        network = t1.fork()
        edits = [step for phase in resolve(plan, t1, Sensitivities(), evidence).phases for step in phase.steps]
        apply_edits(network, edits, evidence)  # type: ignore[arg-type]
        counts.append(network_cost(network).parameter_count)
    conv3d, meta, head, *both = counts
    assert conv3d == 83_526 + 2 * 32 - 2 * 2  # BatchNorm per channel, not per volume
    assert meta == 84_126 + 2 * 32 - 4 * (1 + 2 * 4)  # BatchNorm behind the mix, not PReLU and BatchNorm per group
    assert head == 26_750
    assert both == [head - (88_170 - conv3d), head - (88_170 - meta)]


def test_every_combination_is_trained_once_and_at_the_end(t1: Network) -> None:
    for plan in plans(t1):
        assert [phase.training is not None and phase.training.epochs > 0 for phase in plan.phases][-1]
        assert sum(phase.training.epochs > 0 for phase in plan.phases if phase.training) == 1


def test_conv3d_and_meta_head_together_in_miniature(t1: Network, tmp_path: Path) -> None:
    data = noise()
    recipe = read_recipe(RECIPE, ["training.epochs=1", "training.batch=32"])
    baseline = measure_baseline(t1, data)
    space = build_space(recipe.phases, surveyor(t1), recipe.training)
    plan = space.plan(seeds_of(recipe.search, space)[0][3][1])
    outcome = run_trial(plan, baseline, data, TrialSettings(calibration=64), seed=0, folder=tmp_path)
    assert outcome.status == "complete", outcome.reason
    network = load_candidate(tmp_path, baseline, baseline.evidence(data, 64))
    assert isinstance(network.leaf("4.0"), SameConv3d)
    assert isinstance(network.leaf("8"), MetaLinear)
    assert network_cost(network).parameter_count < 88_170 // 3
