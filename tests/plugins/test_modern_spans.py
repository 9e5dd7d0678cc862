"""layer-removal and self-grow on networks of lines and volumes, and with channels last."""

from __future__ import annotations

import pytest
import torch
from compressor_plugins.common.layout import channel_dim, channels_last
from compressor_plugins.layer_removal.compose import composed
from compressor_plugins.layer_removal.plugin import LayerRemoval
from compressor_plugins.self_grow import SelfGrow
from modern import MODERN, modern
from networks import make_sensitive
from rewriting import apply, correlation, evidence, parity, reason, site
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.verify import difference
from compressor.knobs import Choice
from compressor.plugin import sites_of
from compressor.testing import check_plugin


def test_where_channels_are_follows_the_layers_and_the_permutations() -> None:
    network = modern("channels-last")
    last = {node.name for node in network.graph.nodes if node.meta.get("shape") and channel_dim(network, node) == 2}
    inside = ("norm", "wide", "act", "narrow")
    made = {"permute_default", "mul", "permute_default_2", "mul_1"}
    assert last == {f"block{index}_{name}" for index in (1, 2) for name in inside} | made
    assert not any(channels_last(modern(name), modern(name).output_nodes[0]) for name in MODERN)


class Gated(nn.Module):
    """As in MambaOut: linear over pixels, split, a part of it through a convolution in between."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide, self.narrow = nn.Conv2d(3, 8, 2, 2), nn.Linear(8, 24), nn.Linear(16, 8)
        self.conv, self.head = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).permute(0, 2, 3, 1)
        gate, kept, moved = self.wide(x).split((8, 8, 8), dim=-1)
        moved = self.conv(moved.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = x + self.narrow(gate.relu().repeat(1, 1, 1, 2) * torch.cat([kept, moved], -1))
        scores: Tensor = self.head(x.mean([1, 2]))
        return scores


def test_parts_of_a_split_have_their_channels_where_it_has_them() -> None:
    network = capture(make_sensitive(Gated(), (3, 8, 8)), (3, 8, 8))
    parts = [node for node in network.graph.nodes if node.name.startswith("getitem")]
    assert parts
    assert all(channels_last(network, part) for part in parts)
    data = evidence(network, 16)
    for found in sites_of(LayerRemoval(), network):
        assert parity(apply(LayerRemoval(), network.fork(), found.path, data), data).ok


@pytest.mark.parametrize("score", ["bypass", "gamma", "influence", "probe", "taylor"])
@pytest.mark.parametrize("name", MODERN)
def test_scores_judge_spans_of_every_kind(name: str, score: str) -> None:
    network = modern(name)
    plugin = LayerRemoval(score=score, shortlist=1)
    sites = sites_of(plugin, network)
    left = plugin.worth_measuring(network, sites, evidence(network, 8))
    assert 1 <= len(left) <= len(sites)


@pytest.mark.parametrize("name", MODERN)
def test_every_way_out_of_every_span_leaves_a_network_that_its_file_agrees_with(name: str) -> None:
    original, plugin = modern(name), LayerRemoval(repair="choose")
    data = evidence(original, 32)
    tried = set()
    for found in sites_of(plugin, original):
        knob = found.knobs.get("repair", Choice((found.about.rpartition(": ")[2],)))
        for way in knob.options:
            after = apply(plugin, original.fork(), found.path, data, {"repair": way} if found.knobs else {})
            assert parity(after, data).ok
            assert after.parameter_count < original.parameter_count
            tried.add(way)
    assert tried >= {"identity", "map"}


def test_a_map_stands_in_for_layers_over_channels_last_pixels() -> None:
    """Where the hidden layer is linear, the map is exact."""
    network = modern("channels-last")
    data = evidence(network, 64)
    path = site(LayerRemoval(repair="merge"), network, "block1.wide..block1.act").path
    merged = apply(LayerRemoval(repair="merge"), network.fork(), path, data)
    assert isinstance(merged.leaf("block1.narrow"), nn.Linear)
    assert merged.leaf("block1.narrow").weight.shape == (16, 16)
    assert correlation(network, merged, data) > 0.9


@pytest.mark.parametrize(("kind", "size"), [(nn.Conv1d, (19,)), (nn.Conv3d, (7, 8, 9))])
def test_two_convolutions_of_lines_and_volumes_are_one(kind: type, size: tuple[int, ...]) -> None:
    first, second = kind(3, 4, 3, 2, dilation=2, padding=1).double(), kind(4, 5, 2, 1, dilation=1).double()
    x = torch.randn(2, 3, *(2 * side for side in size), dtype=torch.float64)
    assert torch.allclose(composed(first, second)(x), second(first(x)), atol=1e-9)


@pytest.mark.parametrize("name", MODERN)
def test_the_kit_finds_nothing_on(name: str) -> None:
    findings = check_plugin(LayerRemoval(), {name: modern(name)}, most_sites=3)
    assert not findings, "\n".join(map(str, findings))


# --- growing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODERN)
def test_growing_anywhere_changes_nothing(name: str) -> None:
    original, plugin = modern(name), SelfGrow()
    data = evidence(original, 16)
    grown = set()
    for found in sites_of(plugin, original):
        for way in found.knobs["operator"].options if "operator" in found.knobs else ("",):
            after = apply(plugin, original.fork(), found.path, data, {"operator": way} if way else {})
            assert difference(original, after, data.batches) < 5e-5
            assert after.parameter_count > original.parameter_count
            grown.add(f"{found.path.rpartition('+')[2]} {way or found.about.rpartition(': ')[2]}")
    assert {way.partition(" ")[0] for way in grown} == {"depth", "width"}


def test_what_cannot_grow_says_why() -> None:
    network = modern("signals")
    assert "is a ConvTranspose1d" in reason(SelfGrow(), network, "up.0+width")
    assert "in groups" in reason(SelfGrow(), modern("channels-last"), "block1.depthwise+width")


@pytest.mark.parametrize("name", MODERN)
def test_the_kit_finds_nothing_on_growth_of(name: str) -> None:
    findings = check_plugin(SelfGrow(), {name: modern(name)}, most_sites=3)
    assert not findings, "\n".join(map(str, findings))
