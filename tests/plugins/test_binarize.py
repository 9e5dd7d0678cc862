"""The binarize plugin: the document's networks to the unit, where it acts and why not, and the kit on six networks."""

from __future__ import annotations

import itertools

import onnx
import pytest
import torch
import torch.nn.functional as F
from compressor_plugins.binarize.layers import BinaryLayer
from compressor_plugins.binarize.plugin import Binarize
from networks import NETWORKS
from rewriting import apply, chain, correlation, evidence, named, parity, reason, site, traced
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.leaf import Leaf
from compressor.graph.network import Network
from compressor.knobs import Choice
from compressor.models import build
from compressor.plugin import refusals_of, sites_of
from compressor.testing import PluginContract, check_plugin

BOTH = Binarize(activations="binary", layers="linear")


def lenet() -> Network:
    return capture(build("lenet"), (1, 28, 28), "lenet")


def kinds(network: Network) -> list[str]:
    return [type(leaf).__name__ for _, leaf in network.leaves()]


# --- the document ----------------------------------------------------------------------------------------------------

DOCUMENT = [
    (["fc3"], 107_124, 840, 418.56, 692_160),
    (["fc2", "fc3"], 97_200, 10_920, 381.02, 682_080),
    (["fc1", "fc2", "fc3"], 4_568, 105_000, 30.66, 588_000),
]


@pytest.mark.parametrize(("paths", "floats", "bits", "kib", "macs"), DOCUMENT)
def test_lenet_with_binary_dense_layers_counts_as_in_the_document(paths, floats, bits, kib, macs) -> None:
    """In whatever order the layers are binarized: no bias, no scale, one BN before and one behind each layer."""
    for order in itertools.permutations(paths):
        network = lenet()
        data = evidence(network, 32)
        for path in order:
            apply(BOTH, network, path, data)
        cost = network_cost(network)
        assert cost.parameters == {32: floats, 1: bits}
        assert cost.macs == {32: macs, 1: bits}
        assert round(cost.weight_bytes / 1024, 2) == kib


def test_lenet_as_it_is_counts_as_in_the_document() -> None:
    cost = network_cost(lenet())
    assert cost.parameters == {32: 107_786}
    assert (round(cost.weight_bytes / 1024, 2), cost.macs) == (421.04, {32: 693_000})


def test_between_binary_layers_stands_one_batch_norm_and_no_activation() -> None:
    network = lenet()
    for path in ("fc1", "fc2", "fc3"):
        apply(BOTH, network, path, evidence(network, 32))
    norm, layer = "BatchNorm1d", "BinaryLinear"
    assert kinds(network)[6:] == ["Flatten", norm, layer, norm, layer, norm, layer, norm]


# --- weights alone ---------------------------------------------------------------------------------------------------


def test_weights_alone_replace_the_layer_and_nothing_else() -> None:
    before = lenet()
    after = apply(Binarize(), before.fork(), "fc2")
    changed = [new for old, new in zip(kinds(before), kinds(after), strict=True) if old != new]
    assert changed == ["BinaryLinear"]
    assert torch.equal(after.leaf("fc2").bias, before.leaf("fc2").bias)
    assert network_cost(before).parameters == {32: 107_786}


def test_a_lenet_of_binary_weights_is_a_file_of_a_20th() -> None:
    network = lenet()
    before = len(to_onnx(network))
    for found in sites_of(Binarize(), network):
        apply(Binarize(), network, found.path)
    assert before / len(to_onnx(network)) > 20


# --- where it acts ---------------------------------------------------------------------------------------------------


def test_sites_are_layers_in_order_with_a_knob_where_there_is_a_choice() -> None:
    network = lenet()
    plugin = Binarize(activations="choose")
    assert [found.path for found in sites_of(plugin, network)] == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    assert [bool(found.knobs) for found in sites_of(plugin, network)] == [False, True, True, True, True]
    assert site(plugin, network, "fc1").knobs == {"activations": Choice(("float", "binary"))}
    assert all(not found.knobs for found in sites_of(Binarize(), network))


@pytest.mark.parametrize(
    ("plugin", "path", "part"),
    [
        (Binarize(min_weights=200), "conv1", "150 weights: below 200"),
        (Binarize(last=False), "fc3", "the last layer"),
        (Binarize(activations="binary"), "conv1", "reads the image"),
    ],
)
def test_refusals_say_why(plugin, path, part) -> None:
    assert part in reason(plugin, lenet(), path)


def test_options_admit_what_the_defaults_refuse() -> None:
    admitted = Binarize(activations="binary", first_activations=True)
    assert site(admitted, lenet(), "conv1")
    assert not refusals_of(admitted, lenet())
    assert [found.path for found in sites_of(Binarize(layers="conv"), lenet())] == ["conv1", "conv2"]


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.twice = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.twice(F.relu(self.twice(self.second(self.first(x)))))


def test_shared_weights_are_refused_and_shared_layers_keep_float_inputs() -> None:
    network = capture(Shared(), (16,))
    assert "shares its weight with second" in reason(Binarize(), network, "first")
    assert site(Binarize(), network, "twice")
    assert "more than once" in reason(Binarize(activations="binary"), network, "twice")


def test_padding_the_file_cannot_hold_is_refused() -> None:
    mirrored = traced(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect")), (3, 8, 8))
    assert "pads with reflect" in reason(Binarize(), mirrored, "0")
    uneven = traced(nn.Sequential(nn.Conv2d(3, 16, 2, padding="same")), (3, 8, 8))
    assert "unequal" in reason(Binarize(), uneven, "0")


# --- weights and activations -----------------------------------------------------------------------------------------


def test_a_batch_norm_comes_before_the_sign_wherever_there_is_none() -> None:
    layers = (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.ReLU())
    network = chain(*layers, nn.Flatten(), nn.Linear(512, 10), shape=(3, 14, 14))
    plugin = Binarize(activations="binary")
    data = evidence(network)
    apply(plugin, network, "2", data)
    assert kinds(network)[:5] == ["Conv2d", "ReLU", "BatchNorm2d", "BinaryConv2d", "BatchNorm2d"]
    apply(plugin, network, "4", data)
    assert kinds(network)[4:8] == ["BatchNorm2d", "BinaryConv2d", "BatchNorm2d", "ReLU"]


def test_signs_say_something_and_the_warm_start_follows_the_old_output() -> None:
    """Without the BatchNorm every sign behind a ReLU is +1 and the layer gives one and the same output."""
    network = chain(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 10),
        shape=(3, 12, 12),
    )  # fmt: skip
    data = evidence(network)
    after = apply(Binarize(activations="binary"), network.fork(), "2", data)
    assert correlation(network, after, data) > 0.6
    norms = [leaf for _, leaf in after.leaves() if isinstance(leaf, _BatchNorm)]
    values = data.activations(after, [after.calls_of("2")[0].all_input_nodes[0]])
    share = float((next(iter(values.values())) >= 0).float().mean())
    assert 0.3 < share < 0.7
    assert all(bool(norm.running_var.gt(0).all()) for norm in norms)


def test_binary_linear_layers_run_as_integers_in_the_file() -> None:
    network = lenet()
    data = evidence(network, 32)
    for path in ("fc1", "fc2", "fc3"):
        apply(BOTH, network, path, data)
    operators = [node.op_type for node in onnx.load_from_string(to_onnx(network)).graph.node]
    assert operators.count("MatMulIntegerToFloat") == 1
    assert operators.count("MatMulInteger") == 2
    assert parity(network, data).ok


def test_binary_convolutions_in_a_row_compute_no_floats_between() -> None:
    """Conv, BatchNorm and ReLU thrice, a pooling among them: in the file one comparison, then integers to the last."""
    layers: list[nn.Module] = []
    for channels in (8, 16, 24):
        layers += [nn.Conv2d(channels, channels + 8, 3, padding=1, bias=False), nn.BatchNorm2d(channels + 8), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] * (channels == 16)
    network = chain(*layers, nn.Flatten(), nn.Linear(800, 10), shape=(8, 10, 10))
    data = evidence(network)
    plugin = Binarize(activations="binary", first_activations=True)
    for found in sites_of(plugin, network):
        apply(plugin, network, found.path, data)
    kept = [node.op_type for node in onnx.load_from_string(to_onnx(network)).graph.node]
    unlike = ("Conv", "BatchNormalization", "Relu", "Gemm", "DequantizeLinear")
    assert kept.count("QLinearConv") == 3
    assert kept.count("GreaterOrEqual") == 1
    assert not set(kept) & set(unlike)
    assert parity(network, data).ok


# --- training, and the kit -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plugin", "share"), [(Binarize(), 0.3), (Binarize(activations="binary", first_activations=True), 0.7)]
)
def test_training_learns_flips_signs_and_keeps_the_file_true(plugin, share) -> None:
    """Six classes of noisy patterns; the network trains through the straight-through estimator."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randn(6, 1, 12, 12, generator=generator)
    labels = torch.randint(0, 6, (256,), generator=generator)
    images = patterns[labels] + torch.randn(256, 1, 12, 12, generator=generator)
    network = chain(nn.Flatten(), nn.Linear(144, 64), nn.ReLU(), nn.Linear(64, 6), shape=(1, 12, 12))
    for found in sites_of(plugin, network):
        apply(plugin, network, found.path, evidence(network))
    start = {path: leaf.latent.detach() >= 0 for path, leaf in network.leaves() if isinstance(leaf, BinaryLayer)}
    before = F.cross_entropy(network.eval()(images), labels)
    optimizer = torch.optim.Adam(network.module.parameters(), lr=1e-2)
    network.train()
    for step in range(40):
        rows = slice(64 * (step % 4), 64 * (step % 4) + 64)
        optimizer.zero_grad()
        F.cross_entropy(network(images[rows]), labels[rows]).backward()
        optimizer.step()
        for _, leaf in network.leaves():
            if isinstance(leaf, Leaf):
                leaf.after_step()
    assert F.cross_entropy(network.eval()(images), labels) < share * before
    assert start
    for path, signs in start.items():
        assert not torch.equal(signs, network.leaf(path).latent >= 0)
        assert float(network.leaf(path).latent.abs().max()) <= 1
    assert parity(network, evidence(network)).ok


class TestContract(PluginContract):
    most_sites = 3
    plugin = Binarize(activations="choose")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_kit_finds_nothing_on(name: str) -> None:
    findings = check_plugin(Binarize(activations="choose"), {name: named(name)}, most_sites=1)
    assert not findings, "\n".join(map(str, findings))


@pytest.mark.parametrize("activations", ["float", "binary"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_site_at_once(name: str, activations) -> None:
    original = named(name)
    network, data, plugin = original.fork(), evidence(original), Binarize(activations=activations)
    paths = [found.path for found in sites_of(plugin, network)]
    for path in paths:
        apply(plugin, network, path, data)
    assert [path for path, leaf in network.leaves() if isinstance(leaf, BinaryLayer)] == paths
    assert parity(network, data).ok
    assert not any(isinstance(leaf, BinaryLayer) for _, leaf in original.leaves())
    assert len(to_onnx(network)) < len(to_onnx(original))
