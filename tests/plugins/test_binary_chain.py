"""Chains of layers that take signs: integers in the file, and torch's own signs, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from compressor_plugins.binarize.chain import floats_of, switch_points
from compressor_plugins.binarize.integer import parts_of
from compressor_plugins.binarize.layers import BinaryConv2d, BinaryLinear
from torch import Tensor, nn

from compressor.export.emit import to_onnx
from compressor.graph.leaf import Shape
from compressor.graph.network import Network
from compressor.graph.shapes import propagate
from compressor.graph.signature import Signature
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
    network = Network(torch.fx.GraphModule(module, graph), Signature.of("x", shape)).eval()
    propagate(network)
    return network


def same(network: Network, images: int = 16) -> bool:
    """Whether file and network give the same numbers, every bit of them."""
    x = torch.randn(images, *network.signature.input.shape)
    x[0] = 0
    with torch.no_grad():
        return np.array_equal(OnnxModel(to_onnx(network)).run(x)[0], network(x).numpy())


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


def test_a_layer_between_floats_compares_its_input_with_thresholds() -> None:
    """BatchNorm before the sign is a threshold on floats, the sums add up in parts of the channels that fit a byte."""
    network = network_of(norm(40), nn.ReLU(), norm(40), conv(40, 24), norm(24), nn.ReLU(), shape=(40, 6, 6))
    model = to_onnx(network)
    found = operators(model)
    assert [found.count(kind) for kind in ("BatchNormalization", "Conv", "QLinearConv")] == [0, 0, 2]
    x = torch.randn(8, 40, 6, 6)
    with torch.no_grad():
        expected = network(x)
    assert np.allclose(OnnxModel(model).run(x)[0], expected.numpy(), rtol=1e-5, atol=1e-5)


def test_linear_layers_in_a_row_compute_no_floats_between() -> None:
    norms = [norm(30, nn.BatchNorm1d), nn.ReLU(), norm(30, nn.BatchNorm1d)]
    network = network_of(linear(50, 30), *norms, linear(30, 30), norm(30, nn.BatchNorm1d), linear(30, 8), shape=(50,))
    found = operators(to_onnx(network))
    assert [found.count(kind) for kind in ("MatMulInteger", "MatMulIntegerToFloat")] == [2, 1]
    assert "BatchNormalization" not in found
    assert same(network)


def test_scaled_layers_with_groups_are_part_of_a_chain() -> None:
    between = [norm(16), nn.MaxPool2d(2), norm(16)]
    grouped = conv(16, 24, groups=4, dilation=(2, 2))
    network = network_of(conv(8, 16, scaled=True), *between, grouped, norm(24), conv(24, 8), shape=(8, 16, 16))
    assert operators(to_onnx(network)).count("QLinearConv") == 3
    assert same(network)


class Twice(nn.Module):
    """The normalised sums are needed besides their signs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = conv(8, 16), norm(16), conv(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.first(x))
        return self.second(y) + y


class OfLeaves(torch.fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not isinstance(m, Twice)


def test_a_value_that_is_seen_elsewhere_stays_a_float() -> None:
    module = Twice().eval()
    network = Network(torch.fx.GraphModule(module, OfLeaves().trace(module)), Signature.of("x", IMAGE)).eval()
    propagate(network)
    x = torch.randn(4, *IMAGE)
    with torch.no_grad():
        assert np.allclose(OnnxModel(to_onnx(network)).run(x)[0], network(x).numpy(), rtol=1e-4, atol=1e-4)


def test_one_wrong_sign_shows() -> None:
    """Negative control of every comparison here."""
    network = network_of(conv(8, 16), norm(16), conv(16, 8), shape=IMAGE)
    model = to_onnx(network)
    with torch.no_grad():
        network.leaf("0").latent[3, 2, 1, 1] *= -1
        assert not np.array_equal(
            OnnxModel(model).run(torch.ones(1, *IMAGE))[0], network(torch.ones(1, *IMAGE)).numpy()
        )


def test_nothing_of_the_unpacking_runs(tmp_path: Path) -> None:
    """ONNX Runtime folds it at load, in front of integer operators too."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    network = network_of(conv(40, 16), norm(16), conv(16, 8), norm(8), nn.Flatten(), linear(648, 30), shape=(40, 9, 9))
    model = to_onnx(network)
    assert operators(model).count("BitwiseAnd") == 3
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    left = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert not left & {"BitwiseAnd", "Reshape", "Split", "Slice"}
    assert {"QLinearConv", "MatMulIntegerToFloat"} <= left


def test_thresholds_are_the_places_where_a_function_changes() -> None:
    slopes, places = torch.tensor([1, -1, 0, 0, 1, -1]), torch.tensor([3, -2, 1, -1, 99, 99])
    start, least = switch_points(lambda v: slopes * (v - places) + (slopes == 0) * places >= 0, -10, 10, 6)
    assert start.tolist() == [False, True, True, False, False, True]
    assert least.tolist() == [3, -1, 11, 11, 11, 11]


def test_codes_run_through_all_floats_in_order() -> None:
    codes = torch.tensor([-0x7F800000, -0x7F7FFFFF, -1, 0, 1, 0x3F800000, 0x7F7FFFFF, 0x7F800000])
    values = floats_of(codes)
    assert values.tolist()[:2] == [-torch.inf, torch.finfo(torch.float32).min]
    assert values.tolist()[5:] == [1.0, torch.finfo(torch.float32).max, torch.inf]
    assert bool((values.diff() > 0).all())


@pytest.mark.parametrize("taps", [1, 5, 9, 25, 49, 121, 127, 169])
@pytest.mark.parametrize("channels", [1, 2, 3, 7, 8, 28, 29, 57, 64, 255])
def test_parts_cover_all_channels_and_fit_a_byte(channels: int, taps: int) -> None:
    parts = parts_of(channels, taps)
    assert not parts or sum(parts) == channels
    for part in parts:
        assert part * taps <= (254 if part % 2 == 0 else 127)
    assert parts or taps > 127 or (channels % 2 and taps > 127)
