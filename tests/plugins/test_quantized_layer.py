"""Integer weights: rounding, its gradient, packing, the file bit for bit, bytes, folding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from compressor_plugins.common.nibbles import pack_nibbles, unpack_nibbles
from compressor_plugins.quantize_weights.layer import QuantizedLayer, channel_steps, quantized_layer
from rewriting import chain
from torch import nn
from weighted_layers import CONVOLUTIONS, alone, dense, layer_bytes, optimised, with_leaf

from compressor.errors import ExportError
from compressor.export.emit import to_onnx
from compressor.graph.onnx_out.builder import GraphBuilder
from compressor.measure.session import OnnxModel

WIDTHS = pytest.mark.parametrize("bits", [8, 4])


@WIDTHS
@pytest.mark.parametrize("optimal_clip", [True, False])
def test_weights_are_whole_steps_and_move_by_half_a_step_at_most_within_the_range(bits, optimal_clip) -> None:
    source = nn.Linear(60, 9)
    layer = quantized_layer(source, bits, optimal_clip=optimal_clip)
    largest = {8: 127, 4: 7}[bits]
    whole = torch.from_numpy(layer.whole_weight()).float()
    step = layer.step[:, None]
    assert float(whole.abs().max()) <= largest
    assert torch.equal(layer.effective_weight(), whole * step)
    inside = source.weight.abs() <= step * largest
    moved = (layer.effective_weight() - source.weight).abs()
    assert bool((moved <= step * 0.5001)[inside].all())
    assert bool(inside.all()) or optimal_clip
    if not optimal_clip:
        assert torch.allclose(layer.step * largest, source.weight.abs().amax(1))


@pytest.mark.parametrize(("bits", "most"), [(8, 2e-4), (4, 2e-2)])
def test_of_a_gaussian_channel_little_energy_is_lost_and_less_with_the_best_range(bits, most) -> None:
    weight = torch.randn(8, 2000)
    lost = {}
    for optimal in (True, False):
        step = channel_steps(weight, bits, optimal_clip=optimal)[:, None]
        layer = QuantizedLayer(weight, step[:, 0], torch.ones(8), None, bits, None)
        lost[optimal] = float((layer.effective_weight() - weight).square().sum() / weight.square().sum())
    assert lost[True] <= most
    assert lost[True] <= lost[False]
    assert bits == 8 or lost[True] < 0.7 * lost[False]


def test_a_channel_of_zeros_stays_zero() -> None:
    source = nn.Linear(12, 2)
    with torch.no_grad():
        source.weight[1] = 0
    assert not bool(quantized_layer(source, 4).effective_weight()[1].any())


def test_gradients_pass_the_rounding_straight_through_and_reach_the_gain() -> None:
    layer = quantized_layer(nn.Linear(6, 4), 4)
    x = torch.randn(5, 6)
    layer(x).sum().backward()
    expected = x.sum(0).expand(4, 6)
    assert torch.allclose(layer.weight.grad, expected, rtol=1e-5)
    by_hand = (x.sum(0) * torch.from_numpy(layer.whole_weight()) * layer.step[:, None]).sum(1)
    assert torch.allclose(layer.gain.grad, by_hand, atol=1e-5)
    assert layer.step.grad is None


@WIDTHS
@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_the_convolution_and_its_file_are_the_dense_ones_with_rounded_weights_bit_for_bit(bits, options) -> None:
    source = nn.Conv2d(8, 12, **options)
    leaf = quantized_layer(source, bits)
    network = chain(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), source, shape=(3, 12, 12))
    quantized, twin = with_leaf(network, "2", leaf), with_leaf(network, "2", dense(leaf))
    x = torch.randn(4, 3, 12, 12)
    with torch.no_grad():
        assert torch.equal(quantized(x), twin(x))
    assert leaf.output_shape((8, 12, 12)) == network.shape(network.calls_of("2")[0])
    assert np.array_equal(OnnxModel(to_onnx(quantized)).run(x)[0], OnnxModel(to_onnx(twin)).run(x)[0])


@WIDTHS
@pytest.mark.parametrize("features", [40, 41])
def test_the_weight_in_the_file_is_that_of_the_module_bit_for_bit(bits, features) -> None:
    """Unit rows as input read the weight out of the file; 41 · 7 weights leave half a byte over."""
    leaf = quantized_layer(nn.Linear(features, 7, bias=False), bits)
    with torch.no_grad():
        leaf.gain.copy_(torch.rand(7) + 0.5)
    model = to_onnx(alone(leaf, (features,)))
    assert np.array_equal(OnnxModel(model).run(torch.eye(features))[0].T, leaf.effective_weight().detach().numpy())


@pytest.mark.parametrize("count", [1, 2, 15, 64])
def test_nibbles_hold_every_value_two_per_byte(count) -> None:
    values = (np.arange(count) * 5 % 16 - 8).astype(np.int8)
    packed = pack_nibbles(values)
    assert packed.shape == (-(-count // 2), 1)
    halves = np.stack([packed[:, 0] & 15, packed[:, 0] >> 4], 1).reshape(-1)[:count].astype(int) - 8
    assert np.array_equal(halves, values)


def test_nibbles_refuse_what_does_not_fit() -> None:
    with pytest.raises(ExportError, match="-8…7"):
        pack_nibbles(np.array([8], np.int8))
    with pytest.raises(ExportError, match="do not hold 5"):
        unpack_nibbles(GraphBuilder(), np.zeros((2, 1), np.uint8), (5,))


@pytest.mark.parametrize(("bits", "ratio"), [(8, 3.9), (4, 7.6)])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.Linear(1024, 256), (1024,)), (nn.Conv2d(128, 128, 3, padding=1), (128, 4, 4))],
    ids=["linear", "conv"],
)
def test_a_layer_takes_a_quarter_or_an_eighth_of_the_bytes_and_the_same_kernel(
    bits, ratio, layer, shape, tmp_path
) -> None:
    leaf = quantized_layer(layer, bits)
    assert layer_bytes(layer, shape) / layer_bytes(leaf, shape) >= ratio
    runs = [optimised(to_onnx(alone(each, shape)), tmp_path) for each in (leaf, dense(leaf))]
    assert runs[0] == runs[1]


@WIDTHS
def test_a_batch_norm_is_absorbed_by_gain_and_bias(bits) -> None:
    network = chain(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(288, 9), nn.BatchNorm1d(9), shape=(3, 8, 8)
    )
    for path in ("0", "3"):
        network = with_leaf(network, path, quantized_layer(network.leaf(path), bits))
    with torch.no_grad():
        network.leaf("1").weight[0] *= -1
    model = to_onnx(network)
    assert b"BatchNormalization" not in model
    x = torch.randn(6, 3, 8, 8)
    with torch.no_grad():
        expected = network(x)
    assert np.allclose(OnnxModel(model).run(x)[0], expected.numpy(), rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_lost_channels_leave_the_others_as_they_were() -> None:
    leaf = quantized_layer(nn.Conv2d(6, 8, 3), 4)
    x = torch.randn(2, 6, 7, 7)
    expected = F.conv2d(x[:, [0, 3]], leaf.effective_weight()[[1, 5]][:, [0, 3]], leaf.bias[[1, 5]])
    leaf.keep_outputs(torch.tensor([1, 5]))
    leaf.keep_inputs(torch.tensor([0, 3]))
    assert torch.allclose(leaf(x[:, [0, 3]]), expected, atol=1e-6)
    grouped = quantized_layer(nn.Conv2d(8, 8, 3, groups=2), 4)
    with pytest.raises(NotImplementedError, match="grouped"):
        grouped.keep_outputs(torch.tensor([0]))
