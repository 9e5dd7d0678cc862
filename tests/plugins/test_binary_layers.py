"""The one-bit leaves: sign and its gradient, clipping, dense equality, bytes, integer form, folding."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from compressor_plugins.binarize.layers import BinaryConv2d, BinaryLinear, binary_layer, sign
from compressor_plugins.common.replaceable import symmetric_padding
from rewriting import chain
from torch import Tensor, nn

from compressor.export.emit import to_onnx
from compressor.graph.cost import network_cost
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.measure.session import OnnxModel


def binarized(network: Network, path: str, **options: bool) -> Network:
    """A fork with the layer at ``path`` replaced."""
    fork = network.fork()
    leaf = fork.leaf(path)
    assert isinstance(leaf, nn.Linear | nn.Conv2d)
    editor = Editor(fork)
    editor.replace(path, binary_layer(leaf, **options))
    editor.commit()
    return fork


def dense_twin(network: Network, path: str) -> Network:
    """A fork whose ordinary layer holds the values of the binary one at ``path``."""
    fork = network.fork()
    leaf = fork.leaf(path)
    weight, bias = leaf.weight().detach(), leaf.bias.detach()
    if isinstance(leaf, BinaryLinear):
        twin: nn.Module = nn.Linear(weight.shape[1], weight.shape[0])
    else:
        inputs = weight.shape[1] * leaf.groups
        twin = nn.Conv2d(
            inputs, weight.shape[0], weight.shape[2:], leaf.stride, leaf.padding, leaf.dilation, leaf.groups
        )
    twin.load_state_dict({"weight": weight, "bias": bias})
    editor = Editor(fork)
    editor.replace(path, twin)
    editor.commit()
    return fork


def operators(model: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(model).graph.node]


CONVOLUTIONS = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": "same", "dilation": 2},
    {"kernel_size": (1, 5), "padding": (0, 2), "stride": (1, 2)},
    {"kernel_size": 3, "padding": "valid", "groups": 4},
    {"kernel_size": 2, "stride": 2},
]


def test_sign_is_plus_one_at_zero_and_passes_gradient_inside_the_unit_interval() -> None:
    v = torch.tensor([-2.0, -1.0, -0.1, 0.0, 0.1, 1.0, 2.0], requires_grad=True)
    result = sign(v)
    assert result.tolist() == [-1, -1, -1, 1, 1, 1, 1]
    (result * torch.arange(1.0, 8.0)).sum().backward()
    assert v.grad is not None
    assert v.grad.tolist() == [0, 2, 3, 4, 5, 6, 0]


def test_the_warm_start_is_the_mean_magnitude_per_channel_and_keeps_every_sign() -> None:
    source = nn.Linear(50, 7)
    layer = binary_layer(source)
    assert torch.equal(layer.weight() >= 0, source.weight >= 0)
    assert torch.allclose(layer.weight().abs(), source.weight.abs().mean(1, keepdim=True).expand(7, 50))
    assert float(layer.latent.abs().max()) <= 1
    best = F.mse_loss(layer.weight(), source.weight)
    for factor in (0.9, 1.1):  # α = mean|w| is the best scale of the signs
        assert F.mse_loss(layer.weight() * factor, source.weight) > best


def test_latent_weights_are_clipped_after_a_step_and_scale_is_trained() -> None:
    layer = binary_layer(nn.Linear(20, 5))
    assert isinstance(layer, BinaryLinear)
    optimizer = torch.optim.SGD(layer.parameters(), lr=100.0)
    layer(torch.randn(8, 20)).square().mean().backward()
    optimizer.step()
    assert float(layer.latent.abs().max()) > 1
    layer.after_step()
    assert float(layer.latent.abs().max()) <= 1
    assert layer.scale is not None
    assert layer.scale.grad is not None
    assert layer.scale.grad.abs().min() > 0


@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_a_binary_convolution_is_the_dense_one_with_binary_weights(options: dict) -> None:
    source = nn.Conv2d(8, 12, **options)
    layer = binary_layer(source)
    assert isinstance(layer, BinaryConv2d)
    x = torch.randn(3, 8, 12, 12)
    with torch.no_grad():
        source.weight.copy_(layer.weight())
        assert torch.equal(layer(x), source(x))
    assert layer.output_shape((8, 12, 12)) == tuple(source(x).shape[1:])


@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_the_file_of_a_binary_convolution_gives_the_outputs_of_the_dense_file(options: dict) -> None:
    network = chain(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, **options), shape=(3, 12, 12))
    binary = binarized(network, "2")
    x = torch.randn(4, 3, 12, 12)
    packed, dense = to_onnx(binary), to_onnx(dense_twin(binary, "2"))
    assert np.array_equal(OnnxModel(packed).run(x)[0], OnnxModel(dense).run(x)[0])


def test_padding_that_differs_on_the_two_sides_is_not_symmetric() -> None:
    assert symmetric_padding(nn.Conv2d(1, 1, 3, padding="same")) == (1, 1)
    assert symmetric_padding(nn.Conv2d(1, 1, 3, padding="valid")) == (0, 0)
    with pytest.raises(ValueError, match="unequal"):
        symmetric_padding(nn.Conv2d(1, 1, 2, padding="same"))


@pytest.mark.parametrize(
    ("layers", "path", "shape", "ratio"),
    [
        ((nn.Flatten(), nn.Linear(784, 120)), "1", (1, 28, 28), 28),
        ((nn.Flatten(), nn.Linear(1024, 256)), "1", (1, 32, 32), 29),
        ((nn.Conv2d(128, 128, 3, padding=1),), "0", (128, 4, 4), 29),
        ((nn.Conv2d(64, 64, 3, padding=1),), "0", (64, 4, 4), 26),
        ((nn.Flatten(), nn.Linear(120, 84)), "1", (1, 10, 12), 16),
    ],
)
def test_a_large_layer_takes_one_28th_of_the_bytes_and_the_same_kernel(layers, path, shape, ratio, tmp_path) -> None:
    """Weights, scale, bias and unpacking nodes together, against weights and bias; ONNX Runtime folds the unpacking.

    Scale and bias stay floats, so narrow layers (few weights per output) gain less.
    """
    network = chain(*layers, shape=shape, sensitive=False)
    empty = len(to_onnx(chain(*layers[:-1], nn.Identity(), shape=shape, sensitive=False)))
    binary = binarized(network, path)
    packed, dense = to_onnx(binary), to_onnx(dense_twin(binary, path))
    assert (len(dense) - empty) / (len(packed) - empty) >= ratio
    x = torch.randn(2, *shape)
    assert np.array_equal(OnnxModel(packed).run(x)[0], OnnxModel(dense).run(x)[0])
    assert _optimised(packed, tmp_path) == _optimised(dense, tmp_path)


def _optimised(model: bytes, folder) -> list[str]:
    """Operators of the graph that ONNX Runtime really runs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node]


def test_a_binary_linear_layer_with_binary_input_runs_in_integers_and_is_exact() -> None:
    network = chain(nn.Flatten(), nn.Linear(75, 40), shape=(3, 5, 5))
    binary = binarized(network, "1", binary_input=True)
    model = to_onnx(binary)
    assert "MatMulIntegerToFloat" in operators(model)
    x = torch.randn(16, 3, 5, 5)
    x[0] = 0  # sign(0) is +1, which ONNX's Sign would not give
    with torch.no_grad():
        expected = binary(x)
        leaf = binary.leaf("1")
        signs = torch.where(x.flatten(1) >= 0, 1.0, -1.0).double()
        by_hand = signs @ leaf.weight().double().T + leaf.bias.double()
    assert torch.allclose(expected.double(), by_hand, atol=1e-5)
    assert np.allclose(OnnxModel(model).run(x)[0], expected.numpy(), rtol=1e-5, atol=1e-5)


def test_without_scale_the_integer_form_gives_whole_numbers() -> None:
    network = chain(nn.Flatten(), nn.Linear(64, 20), shape=(1, 8, 8))
    binary = binarized(network, "1", binary_input=True, scaled=False, bias=False)
    x = torch.randn(9, 1, 8, 8)
    found = OnnxModel(to_onnx(binary)).run(x)[0]
    assert np.array_equal(found, binary(x).detach().numpy())
    assert np.array_equal(found, np.round(found))


def test_a_convolution_with_binary_input_pads_with_zeros_not_with_signs() -> None:
    network = chain(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), shape=(3, 6, 6))
    binary = binarized(network, "1", binary_input=True)
    leaf = binary.leaf("1")
    x = torch.randn(4, 3, 6, 6)
    with torch.no_grad():
        signs = F.pad(torch.where(network.leaf("0")(x) >= 0, 1.0, -1.0), (1, 1, 1, 1))
        expected = F.conv2d(signs, leaf.weight(), leaf.bias)
        assert torch.allclose(binary(x), expected, atol=1e-5)
        padded_first = F.pad(network.leaf("0")(x), (1, 1, 1, 1))
        wrong = F.conv2d(torch.where(padded_first >= 0, 1.0, -1.0), leaf.weight(), leaf.bias)
    assert not torch.allclose(expected, wrong, atol=1e-2)
    assert np.allclose(OnnxModel(to_onnx(binary)).run(x)[0], expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("binary_input", [False, True])
def test_batch_norm_is_folded_into_scale_and_bias(binary_input: bool) -> None:
    network = chain(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), shape=(3, 10, 10))
    with torch.no_grad():
        network.leaf("2").weight.copy_(torch.linspace(-1, 1, 8))  # negative γ turns the scale's sign
    binary = binarized(network, "1", binary_input=binary_input)
    model = to_onnx(binary)
    assert "BatchNormalization" not in operators(model)
    x = torch.randn(4, 3, 10, 10)
    assert np.allclose(OnnxModel(model).run(x)[0], binary(x).detach().numpy(), atol=1e-4)


def test_one_flipped_sign_shows() -> None:
    """The control of every parity test here: the comparison can fail."""
    network = chain(nn.Flatten(), nn.Linear(64, 20), shape=(1, 8, 8))
    binary = binarized(network, "1")
    model = to_onnx(binary)
    x = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        binary.leaf("1").latent[0, 0] *= -1
        assert not np.allclose(OnnxModel(model).run(x)[0], binary(x).numpy(), rtol=1e-3, atol=1e-3)


def test_cost_counts_one_bit_weights_and_float_scale_and_bias() -> None:
    network = chain(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(512, 10), shape=(3, 8, 8))
    for path in ("0", "2"):
        network = binarized(network, path)
    cost = network_cost(network)
    assert cost.parameters == {32: 2 * 8 + 2 * 10, 1: 3 * 8 * 9 + 5120}
    assert cost.macs == {1: 3 * 8 * 9 * 64 + 5120}


def test_channel_loss_keeps_rows_and_columns() -> None:
    layer = binary_layer(nn.Conv2d(6, 5, 3))
    x = torch.randn(2, 6, 7, 7)
    full: Tensor = layer(x)
    layer.keep_outputs(torch.tensor([0, 3]))
    assert torch.equal(layer(x), full[:, [0, 3]])
    layer.keep_inputs(torch.tensor([1, 2, 5]))
    assert layer(x[:, :3]).shape == (2, 2, 5, 5)
    with pytest.raises(NotImplementedError, match="grouped"):
        binary_layer(nn.Conv2d(4, 4, 3, groups=2)).keep_outputs(torch.tensor([0]))
