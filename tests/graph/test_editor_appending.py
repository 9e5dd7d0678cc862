"""Editing beside the network: new values are appended, and readers are redirected to them."""

from __future__ import annotations

import operator

import pytest
import torch
from torch import nn

from compressor.errors import GraphError
from compressor.graph.capture import capture
from compressor.graph.editor import Editor
from compressor.graph.network import Network


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3, padding=1), nn.SiLU(), nn.Conv2d(4, 2, 1)
    return capture(nn.Sequential(*layers).eval(), (3, 5, 5))


X = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))


def test_an_appended_value_is_read_by_nobody_until_readers_are_redirected(network: Network) -> None:
    before = network(X)
    editor = Editor(network)
    (value,) = network.calls_of("0")
    (activation,) = network.calls_of("1")
    gate = editor.append(nn.Sigmoid(), [value], "gate")
    product = editor.append(operator.mul, [value, gate], "gated")
    assert not product.users
    editor.redirect(activation, product)
    kinds = [change.kind for change in editor.commit()]
    assert kinds == ["append", "append", "redirect"]
    assert [type(leaf).__name__ for _, leaf in network.leaves()] == ["Conv2d", "Sigmoid", "Conv2d"]
    assert torch.allclose(network(X), before, atol=1e-6)


def test_a_leaf_called_again_is_the_same_leaf(network: Network) -> None:
    editor = Editor(network)
    again = editor.repeat_after(network.calls_of("1")[0], "1")
    editor.commit()
    assert again.target == "1"
    assert len(network.calls_of("1")) == 2
    assert network(X).shape == (2, 2, 5, 5)


def test_values_of_another_shape_and_leaves_that_do_not_fit_are_refused(network: Network) -> None:
    editor = Editor(network)
    (first,), (last,) = network.calls_of("0"), network.calls_of("2")
    with pytest.raises(GraphError, match="another shape"):
        editor.redirect(last, first)
    with pytest.raises(GraphError, match="does not take"):
        editor.repeat_after(last, "0")
    with pytest.raises(GraphError, match="does not take"):
        editor.append(nn.Conv2d(7, 2, 1), [first], "wrong")
    assert not editor.changes
