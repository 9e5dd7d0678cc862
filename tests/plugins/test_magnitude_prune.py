"""Unstructured pruning: the lottery of the document to the unit, global ranking, rounds and rewinding, the engine."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from compressor_plugins.binarize.plugin import Binarize
from compressor_plugins.magnitude_prune.masked_layer import MaskedLayer
from compressor_plugins.magnitude_prune.plugin import MagnitudePrune
from compressor_plugins.magnitude_prune.schedule import RANGES, pruned_count, share
from networks import NETWORKS
from rewriting import apply, chain, evidence, named, parity, reason, site
from torch import nn

from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.engine.apply import apply_edit
from compressor.engine.baseline import measure_baseline
from compressor.engine.control import reinitialise
from compressor.engine.course import rewind
from compressor.engine.plan import Decision, Edit, Phase, Plan
from compressor.engine.trial import TrialSettings, load_candidate, run_trial
from compressor.errors import Refusal
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.network import Network
from compressor.models import build
from compressor.plugin import sites_of
from compressor.testing import PluginContract, check_plugin
from compressor.train.fit import fit
from compressor.train.spec import TrainingSpec

LOTTERY = MagnitudePrune(structure="weights", schedule="paper")
WEIGHTS = MagnitudePrune(structure="weights")


def a2() -> Network:
    return capture(build("a2"), (1, 28, 28), "a2")


def masked(network: Network) -> list[MaskedLayer]:
    return [leaf for _, leaf in network.leaves() if isinstance(leaf, MaskedLayer)]


def survivors(network: Network) -> int:
    return sum(leaf.survivors for leaf in masked(network))


def shaken(network: Network) -> Network:
    """As if trained: every parameter moved, pruned weights held."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    for leaf in masked(network):
        leaf.after_step()
    return network


# --- the document ----------------------------------------------------------------------------------------------------


def test_the_lottery_on_a2_counts_as_in_the_document() -> None:
    """p = 0.2: ⌊0.2 · 5220⌋ go in the first round, ⌊√0.2 · 4176⌋ in the second; biases and BN stay."""
    network = a2()
    assert network_cost(network).parameters == {32: 5_382}
    assert "5220 weights of 5 layers" in site(LOTTERY, network, "all").about
    for left, trainable in ((4_176, 4_338), (2_309, 2_471)):
        apply(LOTTERY, shaken(network), "all", choice={"fraction": 0.2})
        assert survivors(network) == left
        assert network_cost(network).parameters == {32: trainable}
    assert round(100 * (1 - 2_309 / 5_220), 3) == 55.766
    assert round(100 * 2_911 / 5_220, 3) == 55.766
    assert round(100 * (1 - (1 - 0.2) * (1 - 0.2**0.5)), 3) == 55.777
    assert parity(network, evidence(network)).ok


def test_the_counts_are_rounded_down() -> None:
    assert pruned_count(5_220, "paper", 0.2, 1, 1) == 1_044
    assert pruned_count(4_176, "paper", 0.2, 2, 1) == 1_867 < 0.2**0.5 * 4_176 < 1_867.6
    assert [pruned_count(100, "constant", 0.29, number, 1) for number in (1, 2)] == [29, 29]


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_total_reaches_its_fraction_after_its_rounds(rounds) -> None:
    left = 1.0
    for number in range(1, rounds + 1):
        left *= 1 - share("total", 0.9, number, rounds)
    assert left == pytest.approx(0.1)
    assert [share("paper", 0.2, number, rounds) for number in (1, 2, 3)] == pytest.approx(
        [0.2, 0.2**0.5, 0.2 ** (1 / 3)]
    )


# --- the ranking -----------------------------------------------------------------------------------------------------


def test_the_threshold_is_one_for_the_whole_network() -> None:
    network = chain(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 40), nn.Linear(40, 10), shape=(3, 8, 8))
    with torch.no_grad():
        network.leaf("3").weight.mul_(0.01)
    before = {path: network.leaf(path).weight.detach().clone() for path in ("0", "3", "4")}
    apply(WEIGHTS, network, "all", choice={"fraction": 0.95})
    kept = torch.cat([before[path][network.leaf(path).mask].abs() for path in ("0", "4")])
    gone = torch.cat([before[path][~network.leaf(path).mask].abs() for path in before])
    assert kept.min() >= gone.max()
    total = sum(weight.numel() for weight in before.values())
    assert total - int(0.95 * total) < total - before["3"].numel()
    assert survivors(network) == total - int(0.95 * total)
    assert network.leaf("3").survivors == 1  # all of them below the threshold, but a layer never loses its last
    for path, weight in before.items():
        leaf = network.leaf(path)
        assert torch.equal(leaf.effective_weight(), torch.where(leaf.mask, weight, 0.0))


LAMP = MagnitudePrune(structure="weights", score="lamp")


def scaled(factor: float) -> Network:
    """Two layers of which the first is as large as its factor says; BatchNorm behind it takes the factor out again."""
    torch.manual_seed(0)
    network = chain(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 10, 3), shape=(3, 8, 8))
    with torch.no_grad():
        network.leaf("0").weight.mul_(factor)
    return network


def masks_of(plugin: MagnitudePrune, network: Network, fraction: float) -> list[torch.Tensor]:
    return [leaf.mask for leaf in masked(apply(plugin, network, "all", choice={"fraction": fraction}))]


@pytest.mark.parametrize("factor", [1e-3, 0.1, 8.0])
def test_lamp_is_blind_to_the_scale_of_a_layer_and_magnitude_is_not(factor: float) -> None:
    for plugin, same in ((LAMP, True), (WEIGHTS, False)):
        pairs = zip(masks_of(plugin, scaled(1.0), 0.8), masks_of(plugin, scaled(factor), 0.8), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs) == same, plugin.score


def test_lamp_is_a_weight_s_share_of_those_as_large() -> None:
    """By hand: layer one has 1, 4, 9 of 14, 13, 9; layer two 16 of 16, 0.01 of 16.01."""
    network = chain(nn.Linear(3, 1, bias=False), nn.Linear(1, 2, bias=False), shape=(3,))
    with torch.no_grad():
        network.leaf("0").weight.copy_(torch.tensor([[2.0, -1.0, 3.0]]))
        network.leaf("1").weight.copy_(torch.tensor([[0.1], [-4.0]]))
    for fraction, left in ((0.5, [[True, False, True], [False, True]]), (0.6, [[False, False, True], [False, True]])):
        found = masks_of(LAMP, network.fork(), fraction)
        assert [mask.flatten().tolist() for mask in found] == left


def test_a_layer_that_rounds_of_lamp_have_emptied_but_for_one_keeps_it() -> None:
    network = scaled(1e-3)
    for _ in range(8):
        apply(LAMP, network, "all", choice={"fraction": 0.9})
    assert min(leaf.survivors for leaf in masked(network)) >= 1


def test_a_round_prunes_survivors_only_and_knows_its_number() -> None:
    network = apply(LOTTERY, a2(), "all", choice={"fraction": 0.2})
    first = [leaf.mask.clone() for leaf in masked(network)]
    assert "round 2" in site(LOTTERY, network, "all").about
    apply(LOTTERY, shaken(network), "all", choice={"fraction": 0.2})
    assert all(bool((old | ~leaf.mask).all()) for old, leaf in zip(first, masked(network), strict=True))
    assert {int(leaf.rounds) for leaf in masked(network)} == {2}
    assert "round 3" in site(LOTTERY, network.fork(), "all").about


def test_rewinding_gives_first_values_to_survivors_and_leaves_the_masks() -> None:
    network = a2()
    initial = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    apply(LOTTERY, shaken(network), "all", choice={"fraction": 0.2})
    masks = [leaf.mask.clone() for leaf in masked(network)]
    rewind(network, initial)
    for (path, leaf), mask in zip(
        ((path, leaf) for path, leaf in network.leaves() if isinstance(leaf, MaskedLayer)), masks, strict=True
    ):
        assert torch.equal(leaf.mask, mask)
        assert torch.equal(leaf.effective_weight(), torch.where(mask, initial[f"{path}.weight"], 0.0))
        assert torch.equal(leaf.bias, initial[f"{path}.bias"])
    assert torch.equal(network.leaf("bn1").running_var, initial["bn1.running_var"])
    assert survivors(network) == 4_176


def test_a_pruned_network_from_scratch_has_other_weights_under_the_same_masks() -> None:
    network = apply(WEIGHTS, a2(), "all", choice={"fraction": 0.9})
    before = [(leaf.weight.detach().clone(), leaf.mask.clone()) for leaf in masked(network)]
    reinitialise(network, 5)
    for leaf, (weight, mask) in zip(masked(network), before, strict=True):
        assert torch.equal(leaf.mask, mask)
        assert not torch.equal(leaf.weight[mask], weight[mask])
        assert not leaf.weight[~mask].any()
        assert leaf.weight.abs().max() <= leaf.weight[0].numel() ** -0.5


# --- where it acts ---------------------------------------------------------------------------------------------------


def test_packed_layers_are_left_out_with_the_reason() -> None:
    network = apply(Binarize(layers="linear"), named("vgg"), "classifier.0")
    assert "BinaryLinear" in reason(WEIGHTS, network, "classifier.0")
    before = network.leaf("classifier.0")
    apply(WEIGHTS, network, "all")
    assert network.leaf("classifier.0") is before
    nothing = chain(nn.ReLU(), shape=(3, 4, 4), sensitive=False)
    assert not sites_of(WEIGHTS, nothing)


def test_a_fraction_that_is_no_weight_and_another_site_are_refused() -> None:
    tiny = chain(nn.Flatten(), nn.Linear(4, 1), shape=(1, 2, 2), sensitive=False)
    with pytest.raises(Refusal, match=r"0.1 of 4 weights is none"):
        apply_edit(
            tiny, Edit("magnitude-prune", "all", {"fraction": 0.1}, {"structure": "weights", "schedule": "paper"}), None
        )
    with pytest.raises(Refusal, match="no such site"):
        apply_edit(a2(), Edit("magnitude-prune", "conv1", {}, {"structure": "weights"}), None)


# --- engine and kit --------------------------------------------------------------------------------------------------


def test_a_trial_in_rounds_with_rewinding_ends_in_a_sparse_file_that_can_be_rebuilt(tmp_path) -> None:
    data = load_data(DataSpec(name="digits", validation=300))
    network = capture(build("digits-cnn"), (1, 8, 8), "digits-cnn")
    fit(network, data, TrainingSpec(epochs=3, batch=64, lr=3e-3))
    baseline = measure_baseline(network, data)
    options = {"structure": "weights", "schedule": "total", "rounds": 2}
    step = Decision("magnitude-prune", "spread", {"fraction": 0.9}, options)
    plan = Plan((Phase("lottery", (step,), TrainingSpec(epochs=3, batch=64, lr=3e-3), rounds=2, rewind="initial"),))
    outcome = run_trial(plan, baseline, data, TrialSettings(calibration=128), seed=0, folder=tmp_path)
    assert outcome.status == "complete", outcome.reason
    assert outcome.metrics is not None
    assert outcome.metrics.size_bytes < baseline.metrics.size_bytes / 4
    assert outcome.metrics.quality.validation > 0.8
    rebuilt = load_candidate(tmp_path, baseline, baseline.evidence(data, 128))
    total = sum(leaf.weight.numel() for leaf in masked(rebuilt))
    assert survivors(rebuilt) == pytest.approx(0.1 * total, abs=2)
    assert {int(leaf.rounds) for leaf in masked(rebuilt)} == {2}
    assert to_onnx(rebuilt) == (tmp_path / "model.onnx").read_bytes()


class TestContract(PluginContract):
    plugin = WEIGHTS


@pytest.mark.parametrize("plugin", [*(MagnitudePrune(structure="weights", schedule=each) for each in RANGES), LAMP])
def test_the_kit_finds_nothing_with_any_schedule_and_score(plugin: MagnitudePrune) -> None:
    findings = check_plugin(plugin, {"resnet": named("resnet")})
    assert not findings, "\n".join(map(str, findings))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_can_be_pruned_trained_and_exported(name: str) -> None:
    original = named(name)
    network = apply(WEIGHTS, original.fork(), "all", choice={"fraction": 0.9})
    data = evidence(original)
    data.calibrate(network)
    assert parity(network, data).ok
    assert len(to_onnx(network)) < 0.5 * len(to_onnx(original))
    images, labels = data.batches[0]
    network.train()
    F.cross_entropy(network(images), labels).backward()
    assert all(parameter.grad is not None for parameter in network.module.parameters())
    assert not any(bool(leaf.weight.grad[~leaf.mask].any()) for leaf in masked(network))
    assert not masked(original)
