"""Networks that are there to be varied: LeNet at other widths, and the MNIST network to prune."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compressor.models import build, find
from compressor.models.lenet import lenet


@pytest.mark.parametrize(("width", "parameters"), [(0.5, 27_258), (1.0, 107_786), (2.0, 428_682)])
def test_lenet_at_other_widths(width: float, parameters: int) -> None:
    network = lenet(width=width).eval()
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_mnist_cnn_has_as_little_beside_its_weights_as_a2() -> None:
    assert (_weights("mnist-cnn"), _weights("a2")) == (28_824, 5_220)
    assert _outputs("mnist-cnn") == 130 < find("a2").trainable - 5_220 == 162


def _weights(name: str) -> int:
    return sum(m.weight.numel() for m in build(name).modules() if isinstance(m, nn.Conv2d | nn.Linear))


def _outputs(name: str) -> int:
    """Values that stay beside the weights when BatchNorms are folded into them: a bias each."""
    return sum(len(m.weight) for m in build(name).modules() if isinstance(m, nn.Conv2d | nn.Linear))
