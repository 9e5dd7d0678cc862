"""Counted parameters and multiply-accumulates against arithmetic and published tables."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import NETWORKS
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from traced import images, traced, zoo

from compressor.graph.cost import cost_of, layer_costs, network_cost
from compressor.graph.leaf import Cost, Leaf, Shape


def lenet() -> nn.Module:
    """LeNet as Dziadek et al. count it."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding="same"), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5, padding="same"), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(784, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def vgg16() -> nn.Module:
    """The teacher of Gabbasov et al.: stem of stride 2, BatchNorm after every layer but the last."""
    layers: list[nn.Module] = []
    channels = 3
    for block in ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)):
        for width in block:
            stride = 2 if channels == 3 else 1
            layers += [nn.Conv2d(channels, width, 3, stride, 1), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    layers.append(nn.Flatten())
    for inputs in (2048, 512):
        layers += [nn.Linear(inputs, 512), nn.BatchNorm1d(512), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(512, 10))


def test_lenet_as_published() -> None:
    """693,000 counts every product of the two convolutions (117,600 + 470,400) and the linear layers (105,000)."""
    network = traced(lenet(), (1, 28, 28))
    cost = network_cost(network)
    assert cost == Cost({32: 107_786}, {32: 693_000})
    assert round(cost.weight_bytes / 1024, 2) == 421.04
    macs = {layer.path: layer.cost.mac_count for layer in layer_costs(network)}
    assert (macs["0"], macs["3"], macs["7"] + macs["9"] + macs["11"]) == (117_600, 470_400, 105_000)


def test_vgg16_as_published() -> None:
    with torch.device("meta"):
        model = vgg16()
    cost = network_cost(traced(model, (3, 128, 128)))
    assert cost.parameter_count == 16_042_058
    assert round(cost.mac_count / 1e6, 1) == 1254.1


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([1, 2, 4]), st.integers(1, 3), st.integers(1, 3), st.integers(5, 9), st.booleans())
def test_convolutions_against_the_flop_counter(
    groups: int, kernel: int, stride: int, size: int, transposed: bool
) -> None:
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    module = kind(4, 8, kernel, stride, groups=groups)
    with FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, 4, size, size))
    cost = cost_of(module, (4, size, size))
    assert cost.mac_count == counter.get_total_flops() // 2
    assert cost.parameter_count == sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str) -> None:
    network = zoo(name)
    with FlopCounterMode(display=False) as counter:
        network(images(network, 1))
    cost = network_cost(network)
    assert cost.mac_count == counter.get_total_flops() // 2
    assert cost.parameter_count == network.parameter_count
    assert [layer.path for layer in layer_costs(network)] == [str(node.target) for node, _ in network.calls()]


def test_normalisation_counts_scale_and_shift_only() -> None:
    assert cost_of(nn.BatchNorm2d(7), (7, 4, 4)) == Cost({32: 14}, {})
    assert cost_of(nn.BatchNorm2d(7, affine=False), (7, 4, 4)) == Cost()


def test_bits_follow_the_precision() -> None:
    assert cost_of(nn.Linear(4, 3).half(), (4,)) == Cost({16: 15}, {16: 12})


def test_linear_over_leading_dimensions() -> None:
    assert cost_of(nn.Linear(4, 3), (5, 4)).mac_count == 60


def test_a_leaf_states_its_own_cost() -> None:
    class OneBit(Leaf):
        def output_shape(self, *inputs: Shape) -> Shape:
            return (2,)

        def cost(self, *inputs: Shape) -> Cost:
            return Cost({1: 8}, {1: 8})

        def emit(self, builder: object, inputs: object) -> object:
            raise NotImplementedError

    cost = cost_of(OneBit(), (4,))
    assert (cost.parameters, cost.weight_bytes) == ({1: 8}, 1.0)


class Reused(nn.Module):
    """One layer called twice; two layers that share a weight but not their biases; a bare parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.tied = nn.Linear(4, 4), nn.Linear(4, 4)
        self.tied.weight = self.twice.weight
        self.free = nn.Parameter(torch.ones(1, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.tied(self.twice(self.twice(x))) * self.free


def test_shared_weights_count_once_and_their_work_every_time() -> None:
    network = traced(Reused(), (4,))
    parts = [(layer.path, layer.cost.parameter_count, layer.cost.mac_count) for layer in layer_costs(network)]
    assert parts == [("twice", 20, 16), ("twice", 0, 16), ("tied", 4, 16), ("free", 4, 0)]
    assert network_cost(network).parameter_count == network.parameter_count == 28


def test_opaque_products_are_counted() -> None:
    class Product(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.matmul(x, x.transpose(1, 2))

    (layer,) = layer_costs(traced(Product(), (3, 5)))
    assert (layer.kind, layer.cost.mac_count) == ("matmul", 3 * 3 * 5)


def test_an_unknown_module_is_counted_by_running_it() -> None:
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    assert cost_of(module, (4,)) == Cost({32: 58}, {32: 48})
