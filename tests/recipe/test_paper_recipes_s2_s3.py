"""The recipes for LeNet's binarization and the small MNIST networks, in miniature: digits, hardly any training."""

from __future__ import annotations

from pathlib import Path

import pytest
from compressor_plugins.binarize.layers import BinaryLayer
from compressor_plugins.magnitude_prune.masked_layer import MaskedLayer

from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.engine.apply import apply_edit
from compressor.engine.baseline import Baseline, measure_baseline
from compressor.engine.plan import Edit
from compressor.engine.space import SearchSpace, build_space
from compressor.engine.survey import surveyor
from compressor.engine.trial import TrialSettings, load_candidate, run_trial
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.network import Network
from compressor.models import build
from compressor.recipe.model import Recipe
from compressor.recipe.read import read_recipe
from compressor.search.seeds import seeds_of

MODELS = {"lenet_binarize": "lenet", "mnist_lottery": "a2", "mnist_tiny": "mnist-cnn"}


def space_of(recipe: Recipe, model: str) -> SearchSpace:
    return build_space(recipe.phases, surveyor(capture(build(model), (1, 28, 28))), recipe.training)


@pytest.mark.parametrize(("name", "model"), MODELS.items())
def test_every_setting_that_is_tried_first_exists(name: str, model: str) -> None:
    recipe = read_recipe(name)
    space = space_of(recipe, model)
    known = {parameter.name: parameter.knob for parameter in space.parameters}
    for seed in recipe.search.seeds:
        assert all(known[key].contains(value) for key, value in seed.items())


def test_the_first_settings_of_lenet_binarize_are_the_documents_networks() -> None:
    recipe = read_recipe("lenet_binarize")
    kib = [round(_weight_kib(recipe, number), 2) for number in range(3)]
    assert kib == [418.56, 381.02, 30.66]


def _weight_kib(recipe: Recipe, number: int) -> float:
    """Of the network that a seed of the search describes, untrained, in the document's accounting."""
    chosen = recipe.search.seeds[number]
    layers = [key.rpartition(".")[2] for key, value in chosen.items() if value is True and key.count(".") == 2]
    assert all(chosen[f"compress.binarize.{layer}:activations"] == "binary" for layer in layers)
    network = capture(build("lenet"), (1, 28, 28))
    for layer in layers:
        apply_edit(network, Edit("binarize", layer, {"activations": "binary"}, {"activations": "choose"}), None)
    return network_cost(network).weight_bytes / 1024


@pytest.fixture(scope="module")
def digits() -> Data:
    return load_data(DataSpec(name="digits", size=28, limit=64, validation=32, test=32, calibration=64))


def carried_out(name: str, digits: Data, folder: Path, *overrides: str) -> tuple[Network, Baseline]:
    """The recipe's first setting on 64 digits, an epoch a round; the network that came of it."""
    recipe = read_recipe(name, [*overrides, "training.epochs=1", "training.batch=32"])
    baseline = measure_baseline(capture(build(MODELS[name]), digits.input_shape), digits)
    space = space_of(recipe, MODELS[name])
    (_, values), *_ = seeds_of(recipe.search, space)[0]
    plan = space.plan(values)
    outcome = run_trial(plan, baseline, digits, TrialSettings(calibration=64), seed=0, folder=folder)
    assert outcome.status == "complete", outcome.reason
    return load_candidate(folder, baseline, baseline.evidence(digits, 64)), baseline


def survivors(network: Network) -> int:
    return sum(leaf.survivors for _, leaf in network.leaves() if isinstance(leaf, MaskedLayer))


def test_lenet_binarize_in_miniature(digits: Data, tmp_path: Path) -> None:
    network, _ = carried_out("lenet_binarize", digits, tmp_path)
    assert [path for path, leaf in network.leaves() if isinstance(leaf, BinaryLayer)] == ["fc3"]


def test_the_lottery_in_miniature_leaves_what_the_document_says(digits: Data, tmp_path: Path) -> None:
    network, baseline = carried_out("mnist_lottery", digits, tmp_path)
    assert survivors(network) == 2_309
    assert network_cost(network).parameter_count == 2_471
    assert network_cost(baseline.network).parameter_count == 5_382


def test_another_schedule_is_one_override_away(digits: Data, tmp_path: Path) -> None:
    other = "phases.lottery.plugins.magnitude-prune.options.schedule=constant"
    assert survivors(carried_out("mnist_lottery", digits, tmp_path, other)[0]) == 3_341


def test_mnist_tiny_in_miniature_ends_below_the_lottery(digits: Data, tmp_path: Path) -> None:
    network, _ = carried_out("mnist_tiny", digits, tmp_path, "phases.finish.training.epochs=1")
    assert survivors(network) <= 2_309
    assert network_cost(network).parameter_count - survivors(network) == 2 * 120 + 10  # BatchNorms, one bias
