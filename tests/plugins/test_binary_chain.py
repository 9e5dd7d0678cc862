"""Chains of layers that take signs: integers in the file, and torch's own signs, bit for bit."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from compressor_plugins.binary_layers import BinaryConv2d, BinaryLinear
from torch import nn

from compressor.export.emit import to_onnx
from compressor.graph.leaf import Shape
from compressor.graph.network import InputSpec, Network
from compressor.graph.shapes import propagate
from compressor.measure.session import OnnxModel


def conv(inputs: int, outputs: int, kernel: int = 3, *, scaled: bool = False, **settings: object) -> BinaryConv2d:
    groups = settings.get("groups", 1)
    scale = torch.rand(outputs) + 0.5 if scaled else None
    latent = torch.rand(outputs, inputs // groups, kernel, kernel) * 2 - 1  # type: ignore[operator]
    pads = (kernel // 2, kernel // 2)
    return BinaryConv2d(latent, scale, scale, True, **{"padding": pads, **settings})  # type: ignore[arg-type]


def linear(inputs: int, outputs: int) -> BinaryLinear:
    """Without a scale: its outputs are whole numbers, of which every wrong sign changes many."""
    return BinaryLinear(torch.rand(outputs, inputs) * 2 - 1, None, None, True)


def norm(channels: int, kind: type[nn.Module] = nn.BatchNorm2d) -> nn.Module:
    """BatchNorm that rises in a half of the channels, falls in the other, and is constant in two."""
    layer = kind(channels)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(channels))
        layer.weight[:2] = 0
        layer.bias.copy_(torch.randn(channels))
        layer.running_mean.copy_(3 * torch.randn(channels))
        layer.running_var.copy_(20 * torch.rand(channels) + 1)
    return layer


def network_of(*layers: nn.Module, shape: Shape) -> Network:
    module = nn.Sequential(*layers).eval()
    graph = torch.fx.Graph()
    value = graph.placeholder("x")
    for name, _ in module.named_children():
        value = graph.call_module(name, (value,))
    graph.output(value)
    network = Network(torch.fx.GraphModule(module, graph), InputSpec("x", shape)).eval()
    propagate(network)
    return network


def same(network: Network, images: int = 16) -> bool:
    """Whether file and network give the same numbers, every bit of them."""
    x = torch.randn(images, *network.spec.shape)
    x[0] = 0
    with torch.no_grad():
        return np.array_equal(OnnxModel(to_onnx(network)).run(x), network(x).numpy())


def operators(model: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(model).graph.node]


IMAGE = (8, 9, 9)


def layers_of(name: str) -> list[nn.Module]:
    """Two or three layers between whose signs stands what the name says, and a head of whole numbers."""
    between: dict[str, list[nn.Module]] = {
        "a BatchNorm": [norm(16)],
        "BatchNorm, ReLU, BatchNorm": [norm(16), nn.ReLU(), norm(16)],
        "a pooling behind the BatchNorm": [norm(16), nn.MaxPool2d(3, 2, 1)],
        "a pooling before a BatchNorm that falls": [norm(16), nn.ReLU(), nn.MaxPool2d(2), norm(16)],
        "a pooling of sums": [nn.MaxPool2d(2, ceil_mode=True), norm(16)],
        "dropout and a bounded ReLU": [norm(16), nn.Dropout2d(), nn.ReLU6(), norm(16)],
        "nothing": [],
    }
    body = [conv(8, 16), *between[name], conv(16, 24, stride=(2, 2)), norm(24)]
    size = nn.Sequential(*body, nn.Flatten())(torch.zeros(1, *IMAGE)).shape[1]
    return [*body, nn.Flatten(), linear(size, 20)]


@pytest.mark.parametrize(
    "name",
    [
        "a BatchNorm",
        "BatchNorm, ReLU, BatchNorm",
        "a pooling behind the BatchNorm",
        "a pooling before a BatchNorm that falls",
        "a pooling of sums",
        "dropout and a bounded ReLU",
        "nothing",
    ],
)
def test_signs_are_torchs_with_between_two_convolutions(name: str) -> None:
    network = network_of(*[layer.eval() for layer in layers_of(name)], shape=IMAGE)
    found = operators(to_onnx(network))
    assert found.count("QLinearConv") == 2
    assert "BatchNormalization" not in found
    assert "Conv" not in found
    assert same(network)
