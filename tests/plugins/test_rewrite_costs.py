"""An edit of a plugin looks at its own site: what it costs does not grow with the number of the others."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from compressor_plugins.common.calibration import activations
from counting import counts
from integers import options_of
from torch import Tensor, nn

from compressor.errors import Refusal
from compressor.graph.capture import capture
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.knobs import defaults
from compressor.plugin import Plugin, sites_of
from compressor.registry import PLUGINS, make
from compressor.testing.networks import random_evidence

OWN = sorted(found.name for found in PLUGINS.discover() if found.own)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        self.second, self.act = nn.Conv2d(32, 32, 3, padding=1), nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(self.act(self.norm(self.first(x)))))


def deep(blocks: int) -> Network:
    head = (nn.Conv2d(32, 32, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4))
    return capture(nn.Sequential(nn.Conv2d(3, 32, 3), *(Block() for _ in range(blocks)), *head).eval(), (3, 8, 8))


def work_of_edits(plugin: Plugin, network: Network, monkeypatch: pytest.MonkeyPatch) -> tuple[Counter[str], int]:
    """What all sites, rewritten one after the other, took together, and how many there were."""
    data, sites = random_evidence(network, batches=1, size=4), sites_of(plugin, network)
    seen, done = counts(monkeypatch), 0
    for site in sites:
        editor = Editor(network, data)
        try:
            plugin.rewrite(editor, site, defaults(site.knobs))
        except Refusal:  # an earlier edit took it away
            continue
        editor.commit()
        done += 1
    monkeypatch.undo()
    return seen, done


@pytest.mark.parametrize("name", OWN)
def test_an_edit_costs_the_same_in_a_deeper_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most a trace and one pass over data for each; labels pass as many nodes as in a third of the network."""
    plugin = make(name, options_of(name))
    visits: dict[int, float] = {}
    for blocks in (3, 9):
        network = deep(blocks)
        nodes = len(network.graph.nodes)
        seen, edits = work_of_edits(plugin, network, monkeypatch)
        assert edits
        assert seen["traces"] <= edits
        assert seen["runs"] <= edits * nodes
        visits[blocks] = seen["visits"] / edits
    assert visits[9] <= 1.5 * visits[3]


@pytest.mark.parametrize(
    ("shape", "channels", "count"),
    [((3, 64, 64), 8, 42), ((3, 224, 224), 8, 4), ((3, 224, 224), 4, 4), ((3, 8, 8), 8, 64)],
)
def test_a_fit_sees_few_large_images_and_no_fewer_small_ones(shape: tuple[int, ...], channels: int, count: int) -> None:
    network = capture(nn.Sequential(nn.Conv2d(3, channels, 3), nn.ReLU()).eval(), shape)
    data = random_evidence(network, batches=4, size=16)
    (node,) = network.calls_of("0")
    (values,) = activations(data, network, [node])
    assert len(values) == count


def test_a_fit_of_a_layer_without_positions_sees_every_sample() -> None:
    layers = (nn.Conv2d(3, 4, 3, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
    network = capture(nn.Sequential(*layers).eval(), (3, 224, 224))
    (node,) = network.calls_of("3")
    (values,) = activations(random_evidence(network, batches=3, size=4), network, [node])
    assert len(values) == 12
