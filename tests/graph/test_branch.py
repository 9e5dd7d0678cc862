"""A branch beside a value: who gets the sum, and what is refused."""

from __future__ import annotations

import pytest
import torch
from networks import NETWORKS, calibrated
from torch import nn

from compressor.errors import GraphError
from compressor.graph.capture import capture
from compressor.graph.editor import Editor
from compressor.graph.network import Network


@pytest.fixture
def network() -> Network:
    return capture(calibrated("resnet"), NETWORKS["resnet"][1])


def test_every_user_gets_the_sum(network: Network) -> None:
    before = network.fork()
    editor = Editor(network)
    node = network.node("layer1_0_relu_1")
    users = {user.name for user in node.users}
    total = editor.add_branch(node, [("one", nn.Conv2d(8, 4, 1)), ("two", nn.Conv2d(4, 8, 3, padding=1))], "sum")
    (change,) = editor.commit()
    assert {user.name for user in total.users} == users
    assert network.shape(total) == network.shape(node)
    assert {path for path, _ in network.leaves()} - {path for path, _ in before.leaves()} == {
        "layer1.0.relu_one",
        "layer1.0.relu_two",
    }
    assert (change.kind, change.path) == ("insert", "layer1.0.relu")
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert not torch.allclose(network(x), before(x), atol=1e-3)
        for name in ("weight", "bias"):
            network.leaf("layer1.0.relu_two").get_parameter(name).zero_()
        assert torch.equal(network(x), before(x))


def test_a_branch_has_to_keep_the_shape(network: Network) -> None:
    editor = Editor(network)
    code = network.module.code
    for chain in ([], [("half", nn.Conv2d(8, 4, 1))], [("pool", nn.MaxPool2d(2))]):
        with pytest.raises(GraphError, match="keep its shape"):
            editor.add_branch(network.node("relu"), chain, "sum")
    assert not editor.commit()
    assert network.module.code == code
