"""Structured pruning: zero-then-prune, which channels go, blocks, coupled groups, empty filters, the kit."""

from __future__ import annotations

import pytest
import torch
from compressor_plugins.binarize.plugin import Binarize
from compressor_plugins.magnitude_prune.channels import snapped, strongest
from compressor_plugins.magnitude_prune.groups import coupling_of, empty_units, find_group, importances
from compressor_plugins.magnitude_prune.masked_layer import MaskedLayer, masked_layer
from compressor_plugins.magnitude_prune.plugin import MagnitudePrune
from networks import NETWORKS
from rewriting import apply, chain, evidence, named, parity, reason, site
from torch import nn
from weighted_layers import with_leaf

from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.errors import Refusal
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.graph.verify import difference
from compressor.knobs import Choice
from compressor.plugin import refusals_of, sites_of
from compressor.testing import PluginContract, check_plugin

ANY = MagnitudePrune(block=0)
EMPTY = MagnitudePrune(structure="empty-filters", block=0)
ORACLE = 2e-5


def without(network: Network, path: str, gone: list[int]) -> Network:
    """A fork in which nothing takes these channels any more: their weights are zero wherever they are taken in."""
    fork = network.fork()
    with torch.no_grad():
        for where, positions in coupling_of(fork, find_group(fork, path)).inputs.items():
            places = [position for position, channel in positions.items() if channel in gone]
            fork.leaf(where).weight[:, places] = 0
    return fork


def widths(network: Network, *paths: str) -> list[int]:
    return [network.shape(network.calls_of(path)[0])[0] for path in paths]


# --- what is left computes what it did -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_pruning_is_zeroing_and_leaving_out(name: str) -> None:
    original = named(name)
    data, wrong = evidence(original, 16), []
    for found in sites_of(ANY, original):
        group = find_group(original, found.path)
        kept = strongest(original, group, snapped(group, 0.5, 0), "l2")
        gone = [channel for channel in range(group.width) if channel not in kept]
        pruned = apply(ANY, original.fork(), found.path)
        assert widths(pruned, found.path) == [group.width - len(gone)] == [len(kept)]
        assert difference(without(original, found.path, gone), pruned, data.batches) <= ORACLE
        wrong.append(difference(without(original, found.path, kept[: len(gone)]), pruned, data.batches))
    assert max(wrong) > 0.1


@pytest.mark.parametrize("name", NETWORKS)
def test_every_site_at_once(name: str) -> None:
    original = named(name)
    network, data = original.fork(), evidence(original)
    for found in sites_of(ANY, network):
        apply(ANY, network, found.path)
    assert network_cost(network).parameter_count < 0.5 * network_cost(original).parameter_count
    assert network_cost(network).mac_count < 0.5 * network_cost(original).mac_count
    assert parity(network, data).ok
    assert all(parameter.requires_grad for parameter in network.module.parameters())
    assert len(to_onnx(network)) < 0.6 * len(to_onnx(original))


# --- which channels, how many ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("importance", ["l1", "l2"])
def test_the_channels_of_largest_norm_stay(importance) -> None:
    network = chain(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1152, 10), shape=(3, 8, 8))
    rows = network.leaf("0").weight.detach().flatten(1)
    norms = rows.abs().sum(1) if importance == "l1" else rows.square().sum(1)
    kept = sorted(norms.argsort(descending=True)[:16].tolist())
    bias = network.leaf("0").bias.detach().clone()
    apply(MagnitudePrune(importance=importance), network, "0")
    assert torch.equal(network.leaf("0").bias, bias[kept])
    assert network.leaf("3").in_features == 16 * 36


def test_producers_of_a_sum_count_the_same_whatever_their_scale() -> None:
    network = named("resnet")
    group = find_group(network, "conv1")
    assert set(group.producers) == {"conv1", "layer1.0.conv2", "layer1.1.conv2"}
    before = importances(network, group, "l2")
    with torch.no_grad():
        network.leaf("layer1.0.conv2").weight.mul_(100)
    assert torch.allclose(importances(network, group, "l2"), before)


def test_a_group_is_listed_once_under_its_first_layer_and_the_output_layer_is_refused() -> None:
    network = named("resnet")
    paths = [found.path for found in sites_of(ANY, network)]
    assert "conv1" in paths
    assert not {"layer1.0.conv2", "layer1.1.conv2"} & {*paths, *(refused.path for refused in refusals_of(ANY, network))}
    assert "layer1.0.conv2" in site(ANY, network, "conv1").about
    assert "the network's output" in reason(ANY, network, "fc")


def test_widths_are_whole_blocks_and_narrow_sites_are_refused() -> None:
    layers = [nn.Conv2d(3, 64, 3), nn.Conv2d(64, 40, 1), nn.Conv2d(40, 32, 1), nn.Conv2d(32, 16, 1)]
    network = chain(*layers, nn.Flatten(), nn.Linear(16 * 36, 10), shape=(3, 8, 8))
    plugin = MagnitudePrune()
    assert site(plugin, network, "0").knobs == {"ratio": Choice((0.5, 0.25, 0.75))}
    assert site(plugin, network, "0").about.startswith("64 → 48, 32, 16 channels")
    assert site(plugin, network, "1").knobs == {"ratio": Choice((0.5, 0.25))}
    assert not site(plugin, network, "2").knobs
    assert "has 16 channels" in reason(plugin, network, "3")
    assert site(MagnitudePrune(block=8), network, "3")
    for ratio, width in ((0.25, 48), (0.5, 32), (0.75, 16)):
        assert widths(apply(plugin, network.fork(), "0", choice={"ratio": ratio}), "0") == [width]
    assert widths(apply(plugin, network.fork(), "2"), "2") == [16]
    with pytest.raises(Refusal, match="option block"):
        apply_edit(network, Edit("magnitude-prune", "3"), None)


class Grouped(nn.Module):
    """A grouped convolution between two ordinary ones."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 32, 3, groups=4), nn.Conv2d(32, 8, 1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(torch.relu(self.c(torch.relu(self.b(torch.relu(self.a(x)))))).mean((2, 3)))


def test_a_grouped_convolution_loses_as_many_channels_in_every_group() -> None:
    network = capture(Grouped().eval(), (3, 8, 8))
    for path, width in (("a", 8), ("b", 16)):
        group = find_group(network, path)
        assert {len(unit) for unit in group.units} == {4}
        kept = strongest(network, group, width, "l2")
        size = group.width // 4
        assert [sum(channel // size == part for channel in kept) for part in range(4)] == [width // 4] * 4
        apply(ANY, network, path)
        assert widths(network, path) == [width]
    assert parity(network, evidence(network)).ok


class Normed(nn.Module):
    """GroupNorm in front of a grouped convolution: 48 channels go by sixteen at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(3, 48, 1), nn.GroupNorm(24, 48), nn.Conv2d(48, 48, 1, groups=8)
        self.fc = nn.Linear(48, 5)

    def forward(self, x):
        return self.fc(torch.relu(self.b(torch.relu(self.norm(self.a(x))))).mean((2, 3)))


def test_widths_are_those_that_parts_which_go_together_give() -> None:
    network = capture(Normed().eval(), (3, 8, 8))
    assert {len(unit) for unit in find_group(network, "a").units} == {16}
    assert {len(unit) for unit in find_group(network, "b").units} == {8}
    assert site(MagnitudePrune(), network, "a").about.startswith("48 → 32, 16 channels")
    after = apply(MagnitudePrune(), network, "a")
    norm = after.leaf("norm")
    assert isinstance(norm, nn.GroupNorm)
    assert (norm.num_groups, norm.num_channels, after.leaf("b").in_channels) in {(8, 16, 16), (16, 32, 32)}
    assert parity(after, evidence(after)).ok


def test_layers_of_other_plugins_follow_or_refuse() -> None:
    network = named("vgg")
    apply(Binarize(), network, "features.3")
    apply(MagnitudePrune(block=4), network, "features.0")
    assert widths(network, "features.0") == [4]
    assert network.leaf("features.3").latent.shape[1] == 4
    assert parity(network, evidence(network)).ok


# --- empty filters ---------------------------------------------------------------------------------------------------


def emptied(network: Network, path: str, gone: list[int]) -> Network:
    """A fork whose layer at ``path`` is masked, these filters altogether."""
    fork = network.fork()
    leaf = fork.leaf(path)
    mask = torch.ones_like(leaf.weight, dtype=torch.bool)
    mask[gone] = False
    return with_leaf(fork, path, masked_layer(leaf, mask))


VALID = (
    nn.Conv2d(3, 16, 3), nn.ReLU(), nn.BatchNorm2d(16), nn.Conv2d(16, 12, 3, bias=False), nn.ReLU(),
    nn.MaxPool2d(2), nn.Flatten(), nn.Linear(108, 20), nn.ReLU(), nn.Linear(20, 7),
)  # fmt: skip


@pytest.mark.parametrize(("path", "taker"), [("0", "3"), ("3", "7"), ("7", "9")])
def test_without_padding_empty_filters_go_and_their_constants_stay(path, taker) -> None:
    network = emptied(chain(*VALID, shape=(3, 10, 10)), path, [1, 4, 5])
    after = apply(EMPTY, network.fork(), path)
    assert widths(after, path) == [widths(network, path)[0] - 3]
    assert isinstance(after.leaf(path), MaskedLayer)
    data = evidence(network)
    assert difference(network, after, data.batches) <= ORACLE
    assert after.leaf(taker).bias is not None
    plain = network.fork()
    editor = Editor(plain)
    editor.drop_channels(path, [1, 4, 5])
    editor.commit()
    assert (difference(network, plain, data.batches) > 1e-3) is (
        path == "0"
    )  # behind its BatchNorm the constant is not zero
    assert parity(after, data).ok


def test_behind_a_residual_sum_a_channel_is_empty_only_if_every_layer_of_it_is() -> None:
    network = named("resnet")
    for path in ("conv1", "layer1.0.conv2"):
        network = emptied(network, path, [2, 3])
    assert empty_units(network, find_group(network, "conv1")) == []
    assert "every channel has weights" in reason(EMPTY, network, "conv1")
    network = emptied(network, "layer1.1.conv2", [3, 5])
    assert empty_units(network, find_group(network, "conv1")) == [3]
    after = apply(EMPTY, network.fork(), "conv1")
    assert widths(after, "conv1", "layer1.1.conv2") == [7, 7]
    data = evidence(network)
    assert difference(network, after, data.batches) < 0.2  # zeros are padded where the constant was
    assert parity(after, data).ok


def test_empty_filters_go_by_whole_blocks() -> None:
    network = chain(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 36, 10), shape=(3, 8, 8))
    blocks = MagnitudePrune(structure="empty-filters")
    assert "less than a block of 16" in reason(blocks, emptied(network, "0", list(range(15))), "0")
    some = emptied(network, "0", list(range(10, 30)))
    after = apply(blocks, some.fork(), "0")
    assert widths(after, "0") == [48]
    assert difference(some, after, evidence(network).batches) <= ORACLE


def test_pruning_almost_everything_leaves_filters_to_remove() -> None:
    network = named("vgg")
    apply(MagnitudePrune(structure="weights"), network, "all", choice={"fraction": 0.95})
    before = widths(network, "features.17")
    assert site(EMPTY, network, "features.17")
    apply(EMPTY, network, "features.17")
    assert widths(network, "features.17") < before
    assert parity(network, evidence(network)).ok


# --- the kit ---------------------------------------------------------------------------------------------------------


class TestContract(PluginContract):
    plugin = MagnitudePrune(block=4)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_kit_finds_nothing_on(name: str) -> None:
    findings = check_plugin(MagnitudePrune(block=0, importance="l1"), {name: named(name)}, most_sites=2)
    assert not findings, "\n".join(map(str, findings))


def test_the_kit_finds_nothing_with_empty_filters() -> None:
    network = named("vgg")
    apply(MagnitudePrune(structure="weights"), network, "all", choice={"fraction": 0.95})
    findings = check_plugin(EMPTY, {"vgg": network}, most_sites=3)
    assert not findings, "\n".join(map(str, findings))
