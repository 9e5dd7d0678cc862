"""The swap-activation plugin: which activations, what takes their place, and what integers then take for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import ClassVar

import onnx
import pytest
import torch
from compressor_plugins.swap_activation import SwapActivation
from integers import QUANTIZE
from rewriting import apply, chain, evidence, parity, site
from torch import Tensor, nn
from torch.nn import functional as F

from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.plugin import sites_of
from compressor.testing import PluginContract

PLUGIN = SwapActivation()


class Gated(nn.Module):
    """An activation called as a function, one called twice, and a gate, which stays."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.act = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.SiLU()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.b(self.act(self.a(x))))
        x = x * torch.sigmoid(x.mean((2, 3), keepdim=True))
        return self.head(F.gelu(x.mean((2, 3))))


def gated() -> Network:
    torch.manual_seed(0)
    return capture(Gated().eval(), (3, 9, 9))


def types(network: Network) -> Counter[str]:
    return Counter(type(leaf).__name__ for _, leaf in network.leaves())


@pytest.mark.parametrize("smooth", [nn.SiLU, nn.Hardswish, nn.GELU, nn.Mish, nn.ELU, nn.Softplus])
def test_a_smooth_activation_becomes_a_rectifier_and_the_file_agrees(smooth: type[nn.Module]) -> None:
    network = chain(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), smooth(), nn.Conv2d(8, 4, 3), shape=(3, 9, 9))
    data = evidence(network, 16)
    (found,) = sites_of(PLUGIN, network)
    apply(PLUGIN, network, found.path)
    images = data.batches[0][0]
    expected = network.leaf("3")(network.leaf("1")(network.leaf("0")(images)).relu())
    torch.testing.assert_close(network(images), expected)
    assert parity(network, data).ok
    assert not sites_of(PLUGIN, network)


def test_functions_are_found_a_shared_one_is_one_site_and_gates_stay() -> None:
    network = gated()
    places = sites_of(PLUGIN, network)
    assert [len(place.nodes) for place in places] == [2, 1]
    for place in places:
        apply(PLUGIN, network, place.path)
    assert types(network)["ReLU"] == 2
    assert not {"SiLU", "GELU"} & set(types(network))
    assert "Sigmoid" in {node.op_type for node in onnx.load_from_string(to_onnx(network)).graph.node}


def test_what_takes_their_place_may_be_a_knob_and_is_never_the_same_again() -> None:
    plugin = SwapActivation(to="choose")
    network = chain(nn.Conv2d(3, 8, 3), nn.Hardswish(), nn.Conv2d(8, 4, 3), nn.ReLU(), shape=(3, 9, 9))
    assert site(plugin, network, "1").knobs["to"].options == ("relu", "relu6")
    apply(plugin, network, "1", choice={"to": "relu6"})
    assert types(network)["ReLU6"] == 1
    assert not sites_of(SwapActivation(to="hard-swish"), chain(nn.Conv2d(3, 8, 3), nn.Hardswish(), shape=(3, 9, 9)))


def test_in_integers_nothing_is_left_of_it() -> None:
    network = gated()
    counts = []
    for plugin in (None, PLUGIN):
        fork = network.fork()
        for each in filter(None, (plugin, QUANTIZE)):
            for place in sites_of(each, fork):
                apply(each, fork, place.path)
        evidence(fork, 16).calibrate(fork)
        counts.append(Counter(node.op_type for node in onnx.load_from_string(to_onnx(fork)).graph.node))
    assert counts[0]["Mul"] - counts[1]["Mul"] == 2, counts
    assert not counts[1]["Relu"]


class TestContract(PluginContract):
    plugin: ClassVar[SwapActivation] = PLUGIN
    networks: ClassVar[Mapping[str, Network]] = {"gated": gated()}
