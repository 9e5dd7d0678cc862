"""A network that goes to another process arrives as it was."""

from __future__ import annotations

import pickle

import pytest
import torch
from networks import NETWORKS, calibrated
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.graph.packed import pack_network, unpack_network


def there(network: Network) -> Network:
    return unpack_network(pickle.loads(pickle.dumps(pack_network(network))))


@pytest.mark.parametrize("name", NETWORKS)
def test_graph_answers_and_modes_are_what_they_were(name: str) -> None:
    network = capture(calibrated(name), NETWORKS[name][1], "mine")
    other = there(network)
    assert [(n.op, n.name, str(n.args), str(n.kwargs), n.meta) for n in other.graph.nodes] == [
        (n.op, n.name, str(n.args), str(n.kwargs), n.meta) for n in network.graph.nodes
    ]
    assert (other.signature, other.source, other.notes) == (network.signature, network.source, network.notes)
    x = network.signature.random(2)
    assert torch.equal(other.eval()(x), network.eval()(x))


class Many(nn.Module):
    """Slices, lists, constants, ties, functions of torch's internals, and more nodes than Python nests calls."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.second = nn.Linear(6, 6)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(x))
        parts = [x[:, :3], x[:, 3:]]
        y = torch.cat([torch.nn.functional.gelu(parts[1]), parts[0].clamp(min=-1.0)], dim=1)
        for _ in range(1200):
            y = y + 1
        return y


def test_ties_and_long_graphs() -> None:
    network = capture(Many(), (6,)).train()
    other = there(network)
    assert other.leaf("second").weight is other.leaf("first").weight
    assert other.module.training
    assert other.leaf("first").training
    x = torch.randn(3, 6)
    assert torch.equal(other(x), network(x))
