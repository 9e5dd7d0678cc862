"""The quantize-weights plugin: where it acts and why not, two widths, training, and the kit on six networks."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from compressor_plugins.binarize.plugin import Binarize
from compressor_plugins.quantize_weights.layer import QuantizedLayer
from compressor_plugins.quantize_weights.plugin import QuantizeWeights
from networks import NETWORKS
from rewriting import apply, chain, evidence, named, parity, reason, site, traced
from torch import nn

from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.errors import Refusal
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.network import Network
from compressor.graph.verify import variance_lost
from compressor.knobs import Choice
from compressor.models import build
from compressor.plugin import sites_of
from compressor.testing import PluginContract, check_plugin

PLUGIN = QuantizeWeights()


def lenet() -> Network:
    return capture(build("lenet"), (1, 28, 28), "lenet")


def everywhere(network: Network, plugin: QuantizeWeights, bits: int) -> Network:
    for found in sites_of(plugin, network):
        apply(plugin, network, found.path, choice={"bits": bits} if found.knobs else {})
    return network


@pytest.mark.parametrize(("bits", "ratio"), [(8, 3.7), (4, 6.9)])
def test_lenet_keeps_its_outputs_in_a_quarter_or_an_eighth_of_the_file(bits, ratio) -> None:
    before = lenet()
    after = everywhere(before.fork(), PLUGIN, bits)
    assert len(to_onnx(before)) / len(to_onnx(after)) > ratio
    lost = variance_lost(before, after, evidence(before).batches)
    assert lost < {8: 1e-3, 4: 0.1}[bits]
    weights = 5 * 5 * 6 * 16 + 784 * 120 + 120 * 84 + 84 * 10
    scales = 16 + 120 + 84 + 10
    assert network_cost(after).parameters == {32: 107_786 - weights + scales, bits: weights}
    assert network_cost(before).parameters == {32: 107_786}


def test_only_the_layer_changes() -> None:
    before = lenet()
    after = apply(PLUGIN, before.fork(), "fc2", choice={"bits": 4})
    kinds = [[type(leaf).__name__ for _, leaf in network.leaves()] for network in (before, after)]
    assert [new for old, new in zip(*kinds, strict=True) if old != new] == ["QuantizedLayer"]
    assert torch.equal(after.leaf("fc2").bias, before.leaf("fc2").bias)


def test_sites_offer_both_widths_and_small_layers_are_refused() -> None:
    network = lenet()
    assert [found.path for found in sites_of(PLUGIN, network)] == ["conv2", "fc1", "fc2", "fc3"]
    assert site(PLUGIN, network, "fc1").knobs == {"bits": Choice((8, 4))}
    assert "150 weights: below 200" in reason(PLUGIN, network, "conv1")
    assert site(QuantizeWeights(min_weights=100), network, "conv1")
    assert [found.path for found in sites_of(QuantizeWeights(layers="conv"), network)] == ["conv2"]


def test_layers_that_are_packed_already_are_refused() -> None:
    network = apply(Binarize(), lenet(), "fc1")
    assert "BinaryLinear" in reason(PLUGIN, network, "fc1")
    apply(PLUGIN, network, "fc2", choice={"bits": 4})
    assert "at 4 bits already" in reason(PLUGIN, network, "fc2")
    with pytest.raises(Refusal, match="BinaryLinear"):
        apply_edit(network, Edit("quantize-weights", "fc1"), None)
    mirrored = traced(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect")), (3, 8, 8))
    assert "pads with reflect" in reason(PLUGIN, mirrored, "0")


def test_a_layer_at_eight_bits_may_go_to_four_and_is_rounded_from_its_latent_weights() -> None:
    network = apply(PLUGIN, lenet(), "fc1")
    assert not site(PLUGIN, network, "fc1").knobs
    direct = apply(PLUGIN, lenet(), "fc1", choice={"bits": 4})
    with torch.no_grad():
        direct.leaf("fc1").weight.copy_(network.leaf("fc1").weight)
        network.leaf("fc1").gain.mul_(2)
    apply(PLUGIN, network, "fc1")
    leaf = network.leaf("fc1")
    assert isinstance(leaf, QuantizedLayer)
    assert leaf.bits == 4
    assert torch.equal(leaf.gain, torch.full((120,), 2.0))
    with pytest.raises(Refusal, match="already"):
        apply_edit(network, Edit("quantize-weights", "fc1"), None)


@pytest.mark.parametrize("trainable", [True, False])
def test_training_learns_behind_the_rounding_and_keeps_the_file_true(trainable) -> None:
    """Six classes of noisy patterns; at four bits the loss falls only where the rounded weights may move."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randn(6, 1, 12, 12, generator=generator)
    labels = torch.randint(0, 6, (256,), generator=generator)
    images = patterns[labels] + torch.randn(256, 1, 12, 12, generator=generator)
    network = chain(nn.Flatten(), nn.Linear(144, 64), nn.ReLU(), nn.Linear(64, 6), shape=(1, 12, 12))
    everywhere(network, QuantizeWeights(trainable=trainable), 4)
    start = {path: leaf.whole_weight() for path, leaf in network.leaves() if isinstance(leaf, QuantizedLayer)}
    before = F.cross_entropy(network.eval()(images), labels)
    trained = [parameter for parameter in network.module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=3e-3)
    network.train()
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
    after = F.cross_entropy(network.eval()(images), labels)
    assert len(start) == 2
    for path, whole in start.items():
        assert bool((network.leaf(path).whole_weight() == whole).all()) is not trainable
    assert bool(after < 0.1 * before) is trainable
    assert parity(network, evidence(network)).ok


class TestContract(PluginContract):
    plugin = PLUGIN


@pytest.mark.parametrize("name", NETWORKS)
def test_the_kit_finds_nothing_on(name: str) -> None:
    findings = check_plugin(QuantizeWeights(clip="largest"), {name: named(name)}, most_sites=2)
    assert not findings, "\n".join(map(str, findings))


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_site_at_once(name: str, bits) -> None:
    original = named(name)
    network = everywhere(original.fork(), PLUGIN, bits)
    data = evidence(original)
    assert [path for path, leaf in network.leaves() if isinstance(leaf, QuantizedLayer)]
    assert parity(network, data).ok
    assert variance_lost(original, network, data.batches) < {8: 0.01, 4: 1.0}[bits]
    assert not any(isinstance(leaf, QuantizedLayer) for _, leaf in original.leaves())
    assert len(to_onnx(network)) < len(to_onnx(original))
