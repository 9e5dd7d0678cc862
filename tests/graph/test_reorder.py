"""Channels that change places, and everything coupled to them with them: the network computes what it did."""

from __future__ import annotations

import pytest
import torch
from networks import NETWORKS
from oracles import producers
from torch import nn
from traced import chain, images, traced, zoo

from compressor.errors import Refusal
from compressor.graph.channels import plan_reorder
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.graph.verify import difference


def reordered(network: Network, path: str) -> Network:
    fork = network.fork()
    count = network.shape(network.calls_of(path)[0])[0]
    editor = Editor(fork)
    for where, leaf in plan_reorder(network, path, torch.randperm(count).tolist()).items():
        editor.replace(where, leaf)
    editor.commit()
    return fork


@pytest.mark.parametrize("name", NETWORKS)
def test_no_network_notices_another_order_of_channels(name: str) -> None:
    network, done = zoo(name), 0
    paths = producers(network)[:-1]
    for path in paths[:: max(len(paths) // 5, 1)]:
        try:
            after = reordered(network, path)
        except Refusal:
            continue
        done += 1
        assert difference(network, after, [images(network)]) < 1e-5
        weight, before = after.leaf(path).weight, network.leaf(path).weight
        assert not torch.equal(weight, before)
    assert done


def test_one_layer_alone_in_another_order_is_noticed() -> None:
    """Control: without what takes its channels."""
    network = zoo("vgg")
    editor = Editor(fork := network.fork())
    leaves = plan_reorder(network, "features.0", list(range(network.leaf("features.0").out_channels))[::-1])
    editor.replace("features.0", leaves["features.0"])
    editor.commit()
    assert difference(network, fork, [images(network)]) > 1e-2


def test_the_order_is_the_one_given() -> None:
    network = chain(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 5), shape=(3, 3, 3))
    leaves = plan_reorder(network, "0", [2, 0, 3, 1])
    assert torch.equal(leaves["0"].weight, network.leaf("0").weight[[2, 0, 3, 1]])
    runs = network.leaf("3").weight.view(5, 4, 9)
    assert torch.equal(leaves["3"].weight.view(5, 4, 9), runs[:, [2, 0, 3, 1]])


def test_groups_outputs_and_wrong_orders_are_refused() -> None:
    network = traced(nn.Sequential(nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 4, 1)), (4, 6, 6))
    with pytest.raises(Refusal, match="ties channels to their places"):
        plan_reorder(network, "0", range(7, -1, -1))
    with pytest.raises(Refusal, match="network's output"):
        plan_reorder(network, "2", [1, 0, 2, 3])
    with pytest.raises(Refusal, match="names others"):
        plan_reorder(network, "0", [0, 0, 1, 2, 3, 4, 5, 6])
