"""The pool-first plugin: which averages go before which convolutions, and what they leave to compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest
import torch
from compressor_plugins.pool_first import PoolFirst
from rewriting import apply, chain, evidence, parity, reason, traced
from torch import nn

from compressor.graph.cost import cost_of
from compressor.graph.network import Network
from compressor.graph.shapes import input_shapes
from compressor.plugin import refusals_of, sites_of
from compressor.testing import PluginContract

PLUGIN = PoolFirst()


def head() -> Network:
    return chain(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 20, 1), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        shape=(3, 9, 9),
    )  # fmt: skip


def transition() -> Network:
    return chain(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1, groups=2), nn.AvgPool2d(2), nn.Conv2d(4, 4, 2), shape=(3, 9, 9))


CASES = {
    "head": (head, "2", 49),
    "transition": (transition, "1", 49 / 9),
    "whole image as a window": (lambda: chain(nn.Conv2d(3, 8, 1), nn.AvgPool2d(9), shape=(3, 9, 9)), "0", 81),
    "windows at the border are smaller": (
        lambda: chain(nn.Conv2d(3, 8, 1), nn.AvgPool2d(2, ceil_mode=True), shape=(3, 9, 9)), "0", 81 / 25,
    ),
    "one dimension": (lambda: chain(nn.Conv1d(3, 8, 1), nn.AdaptiveAvgPool1d(3), shape=(3, 12)), "0", 4),
    "three dimensions": (lambda: chain(nn.Conv3d(3, 8, 1), nn.AvgPool3d(2), shape=(3, 4, 4, 4)), "0", 8),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_same_function_with_the_products_of_the_places_that_are_left(name: str) -> None:
    build, path, times = CASES[name]
    network = build()
    data = evidence(network, 8)
    images = data.batches[0][0]
    expected, before = network(images), _products(network, path)
    apply(PLUGIN, network, path)
    torch.testing.assert_close(network(images), expected)
    assert before == pytest.approx(times * _products(network, path))
    assert parity(network, data).ok
    assert not sites_of(PLUGIN, network)


REFUSED = {
    "elsewhere too": lambda pool: (nn.Conv2d(3, 3, 1), pool, nn.ReLU(), pool),
    "zeros around": lambda _: (nn.Conv2d(3, 3, 1), nn.AvgPool2d(2, padding=1)),
    "another number": lambda _: (nn.Conv2d(3, 3, 1), nn.AvgPool2d(2, divisor_override=3)),
    "as many values": lambda _: (nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(8)),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_would_be_another_function_is_refused(why: str) -> None:
    network = traced(nn.Sequential(*REFUSED[why](nn.AvgPool2d(2))), (3, 8, 8))
    assert not [place for place in sites_of(PLUGIN, network) if place.path == "0"]
    assert why in reason(PLUGIN, network, "0")


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AvgPool2d(2)),
        (nn.Conv2d(3, 4, 3), nn.AvgPool2d(2)),
        (nn.Conv2d(3, 4, 1, stride=2), nn.AvgPool2d(2)),
        (nn.Conv2d(3, 4, 1, padding=1), nn.AvgPool2d(2)),
        (nn.Conv2d(3, 4, 1), nn.MaxPool2d(2)),
    ],
)
def test_nothing_else_is_a_place(layers: tuple[nn.Module, ...]) -> None:
    network = chain(*layers, shape=(3, 8, 8))
    assert not [*sites_of(PLUGIN, network), *refusals_of(PLUGIN, network)]


def _products(network: Network, path: str) -> float:
    (call,) = network.calls_of(path)
    return cost_of(network.leaf(path), *input_shapes(call)).mac_count


class TestContract(PluginContract):
    plugin: ClassVar[PoolFirst] = PLUGIN
    networks: ClassVar[Mapping[str, Network]] = {"head": head(), "transition": transition()}
