"""Masked layers: their file forms bit for bit, what they take, training behind a mask, lost channels, folding."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from compressor_plugins.magnitude_prune.masked_layer import MaskedLayer, masked_layer
from compressor_plugins.magnitude_prune.sparse_weights import split_gaps, stored_bytes
from rewriting import chain
from torch import nn
from weighted_layers import CONVOLUTIONS, alone, dense, layer_bytes, optimised, with_leaf

from compressor.export.emit import to_onnx
from compressor.measure.session import OnnxModel


def pruned(layer: nn.Linear | nn.Conv2d, fraction: float) -> MaskedLayer:
    """The layer without this fraction of its smallest weights."""
    magnitude = layer.weight.detach().abs()
    order = magnitude.flatten().argsort()
    mask = torch.ones(magnitude.numel(), dtype=torch.bool)
    mask[order[: int(fraction * len(order))]] = False
    return masked_layer(layer, mask.view_as(magnitude))


def operators(model: bytes) -> set[str]:
    return {node.op_type for node in onnx.load_from_string(model).graph.node}


@pytest.mark.parametrize(
    ("fraction", "form"),
    [(0.0, set()), (0.5, {"CumSum", "Gather", "BitwiseAnd"}), (0.9, {"CumSum", "ScatterElements"})],
)
@pytest.mark.parametrize(
    ("layer", "shape"), [(nn.Linear(256, 64), (256,)), (nn.Conv2d(24, 25, 5, padding=2), (24, 8, 8))]
)
def test_the_form_that_takes_fewest_bytes_is_taken_and_folds_to_the_dense_layer(
    fraction, form, layer, shape, tmp_path
) -> None:
    leaf = pruned(layer, fraction)
    model, twin = to_onnx(alone(leaf, shape)), to_onnx(alone(dense(leaf), shape))
    assert form <= operators(model)
    assert form or operators(model) == operators(twin)
    x = torch.randn(3, *shape)
    assert np.array_equal(OnnxModel(model).run(x)[0], OnnxModel(twin).run(x)[0])
    assert optimised(model, tmp_path) == optimised(twin, tmp_path)
    forms = stored_bytes(leaf.effective_weight().detach().numpy())
    assert len(model) - len(twin) == pytest.approx(min(forms.values()) - forms["dense"], abs=450)


@pytest.mark.parametrize(("fraction", "ratio"), [(0.9, 7.5), (0.95, 14), (0.5, 1.8)])
@pytest.mark.parametrize(
    ("layer", "shape"), [(nn.Linear(1024, 256), (1024,)), (nn.Conv2d(64, 64, 3, padding=1), (64, 4, 4))]
)
def test_bytes_of_a_layer(fraction, ratio, layer, shape) -> None:
    assert layer_bytes(layer, shape) / layer_bytes(pruned(layer, fraction), shape) >= ratio


@pytest.mark.parametrize("kept", [[], [0], [999], [0, 255, 256, 999], [255, 511], [256, 700], [510, 766]])
def test_gaps_of_any_length_lead_to_every_value(kept) -> None:
    weight = np.zeros(1000, np.float32)
    weight[kept] = np.arange(1, len(kept) + 1)
    gaps, values = split_gaps(weight)
    rebuilt = np.zeros_like(weight)
    rebuilt[np.cumsum(gaps.astype(np.int64))] = values
    assert np.array_equal(rebuilt, weight)
    leaf = MaskedLayer(torch.from_numpy(weight).view(1, -1), torch.from_numpy(weight != 0).view(1, -1), None, None)
    found = OnnxModel(to_onnx(alone(leaf, (1000,)))).run(torch.eye(1000))[0]
    assert np.array_equal(found[:, 0], weight)


@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_a_masked_convolution_is_the_dense_one_with_zeros(options) -> None:
    source = nn.Conv2d(8, 12, **options)
    leaf = pruned(source, 0.8)
    x = torch.randn(2, 8, 12, 12)
    with torch.no_grad():
        assert torch.equal(leaf(x), dense(leaf)(x))
    assert leaf.survivors == int((dense(leaf).weight != 0).sum())
    assert leaf.output_shape((8, 12, 12)) == tuple(source(x).shape[1:])


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
def test_training_moves_survivors_and_never_pruned_weights(optimizer) -> None:
    """Momentum from before the pruning, and weight decay, would both move them."""
    leaf = pruned(nn.Linear(30, 20), 0.7)
    options = {"weight_decay": 0.1} | ({"momentum": 0.9} if optimizer is torch.optim.SGD else {})
    steps = optimizer(leaf.parameters(), lr=0.01, **options)
    before, mask = leaf.effective_weight().detach().clone(), leaf.mask.clone()
    for _ in range(5):
        steps.zero_grad()
        leaf(torch.randn(8, 30)).square().sum().backward()
        assert not bool(leaf.weight.grad[~mask].any())
        steps.step()
        leaf.after_step()
        assert not bool(leaf.weight[~mask].any())
    moved = leaf.effective_weight() != before
    assert bool(moved[mask].all())
    assert not bool(moved[~mask].any())


def test_a_batch_norm_is_absorbed_and_zeros_stay_zeros(tmp_path) -> None:
    network = chain(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), shape=(3, 8, 8))
    network = with_leaf(network, "0", pruned(network.leaf("0"), 0.95))
    model = to_onnx(network)
    assert "ScatterElements" in operators(model)
    assert "BatchNormalization" not in operators(model)
    x = torch.randn(5, 3, 8, 8)
    with torch.no_grad():
        assert np.allclose(OnnxModel(model).run(x)[0], network(x).numpy(), atol=1e-5)


def test_the_mask_follows_the_channels() -> None:
    leaf = pruned(nn.Conv2d(6, 8, 3), 0.6)
    x = torch.randn(2, 6, 7, 7)
    expected = F.conv2d(x[:, [0, 3]], leaf.effective_weight()[[1, 5]][:, [0, 3]], leaf.bias[[1, 5]])
    leaf.keep_outputs(torch.tensor([1, 5]))
    leaf.keep_inputs(torch.tensor([0, 3]))
    assert torch.allclose(leaf(x[:, [0, 3]]), expected, atol=1e-6)
    assert leaf.mask.shape == leaf.weight.shape
    cost = leaf.cost((2, 7, 7))
    assert cost.parameters == {32: int(leaf.mask.sum()) + 2}
    assert cost.macs == {32: leaf.weight.numel() * 25}
