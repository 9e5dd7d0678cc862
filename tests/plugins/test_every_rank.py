"""Weights in another form in layers of every kind: tokens, lines, images, volumes, in groups, transposed."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from compressor_plugins.binarize import Binarize
from compressor_plugins.binarize.weights import BinaryWeights, binary_weights
from compressor_plugins.common.weighted import WeightedLayer
from compressor_plugins.magnitude_prune.masked_layer import masked_layer
from compressor_plugins.quantize_weights import QuantizeWeights
from compressor_plugins.quantize_weights.layer import QuantizedLayer, quantized_layer
from modern import MODERN, modern
from rewriting import chain, evidence, parity, reason
from torch import nn
from weighted_layers import with_leaf

from compressor.export.emit import to_onnx
from compressor.graph.cost import cost_of
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.graph.verify import variance_lost
from compressor.knobs import defaults
from compressor.measure.session import OnnxModel
from compressor.plugin import Plugin, sites_of
from compressor.testing import check_plugin

LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "tokens": (nn.Linear(12, 10), (5, 12)),
    "pixels": (nn.Linear(12, 10, bias=False), (3, 4, 12)),
    "line": (nn.Conv1d(6, 8, 5, 2, "valid", groups=2), (6, 20)),
    "depthwise": (nn.Conv2d(6, 6, 3, padding=1, groups=6), (6, 5, 7)),
    "volume": (nn.Conv3d(4, 6, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False), (4, 3, 6, 6)),
    "up a line": (nn.ConvTranspose1d(6, 8, 4, 2, 1), (6, 7)),
    "up an image": (nn.ConvTranspose2d(6, 9, (3, 2), (2, 1), (1, 0), (1, 0), groups=3, dilation=(2, 1)), (6, 5, 4)),
    "up a volume": (nn.ConvTranspose3d(3, 4, 2, 2, bias=False), (3, 2, 3, 2)),
}
FORMS: dict[str, Callable[[nn.Module, bool], WeightedLayer]] = {
    "8 bits": lambda layer, tokens: quantized_layer(layer, 8, tokens=tokens),
    "4 bits": lambda layer, tokens: quantized_layer(layer, 4, tokens=tokens),
    "1 bit": lambda layer, tokens: binary_weights(layer, tokens=tokens),
    "half": lambda layer, tokens: masked_layer(layer, layer.weight > 0, tokens=tokens),
}


def leaf_and_twin(form: str, kind: str) -> tuple[WeightedLayer, nn.Module]:
    """The leaf, and the ordinary layer that holds its effective weight."""
    layer, shape = LAYERS[kind]
    leaf = FORMS[form](layer, isinstance(layer, nn.Linear) and len(shape) > 1)
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        twin.weight.copy_(leaf.effective_weight())
    return leaf, twin


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", LAYERS)
def test_the_layer_and_its_file_are_the_dense_ones_with_its_weights(kind: str, form: str) -> None:
    leaf, twin = leaf_and_twin(form, kind)
    shape = LAYERS[kind][1]
    plain = chain(twin, shape=shape, sensitive=False)
    network = with_leaf(plain, "0", leaf)
    x = torch.randn(3, *shape)
    with torch.no_grad():
        assert torch.allclose(
            network(x), plain(x), rtol=1e-5, atol=1e-6
        )  # torch's kernel may differ by where memory lies
    assert leaf.output_shape(shape) == plain.shape(plain.output_nodes[0])
    assert leaf.mac_count(shape) == cost_of(twin, shape).mac_count
    found, expected = (OnnxModel(to_onnx(each)).run(x)[0] for each in (network, plain))
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", LAYERS)
def test_each_output_has_a_scale_of_its_own(kind: str) -> None:
    """One output made a thousand times larger changes no other output's integers or signs."""
    layer, shape = LAYERS[kind]
    x = torch.randn(2, *shape)
    axis = -1 if isinstance(layer, nn.Linear) else 1
    for make in (FORMS["8 bits"], FORMS["1 bit"]):
        leaf = make(layer, len(shape) > 1)
        loud = 1.0 + 999 * (torch.arange(leaf.output_shape(shape)[axis if axis < 0 else 0]) == 1)
        large = copy.deepcopy(layer)
        with torch.no_grad():
            large.weight.mul_(leaf.spread(loud))
            if large.bias is not None:
                large.bias.mul_(loud)
            expected = leaf(x).movedim(axis, -1) * loud
            found = make(large, len(shape) > 1)(x).movedim(axis, -1)
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)
        assert leaf.rows(leaf.effective_weight()).shape[0] == len(loud)


@pytest.mark.parametrize("kind", ["tokens", "line", "volume", "up a line", "up a volume"])
def test_lost_channels_leave_the_others_as_they_were(kind: str) -> None:
    layer, shape = LAYERS[kind]
    layer = nn.Conv1d(6, 8, 5, 2) if kind == "line" else layer
    axis = -1 if isinstance(layer, nn.Linear) else 1
    leaf = quantized_layer(layer, 8, tokens=isinstance(layer, nn.Linear))
    x = torch.randn(2, *shape)
    kept_in, kept_out = torch.tensor([0, 2]), torch.tensor([1, 3])
    silent = torch.zeros_like(x).index_copy(axis % x.dim(), kept_in, x.index_select(axis, kept_in))
    with torch.no_grad():
        expected = leaf(silent).index_select(axis, kept_out)
        leaf.keep_outputs(kept_out)
        leaf.keep_inputs(kept_in)
        assert torch.allclose(leaf(x.index_select(axis, kept_in)), expected, atol=1e-5)


def test_a_batch_norm_over_tokens_is_not_taken_for_one_over_features() -> None:
    leaf = quantized_layer(nn.Linear(12, 5), 8, tokens=True)
    network = with_leaf(chain(nn.Linear(12, 5), nn.BatchNorm1d(5), shape=(5, 12)), "0", leaf)
    assert parity(network, evidence(network)).ok


def all_sites(plugin: Plugin, network: Network) -> Network:
    for found in sites_of(plugin, network):
        editor = Editor(network, None)
        plugin.rewrite(editor, found, defaults(found.knobs))
        editor.commit()
    return network


@pytest.mark.parametrize("name", MODERN)
@pytest.mark.parametrize(
    ("plugin", "leaf", "ratio"),
    [(QuantizeWeights(min_weights=0), QuantizedLayer, 2.3), (Binarize(min_weights=0), BinaryWeights, 3.5)],
    ids=["quantize-weights", "binarize"],
)
def test_every_layer_of_modern_networks_is_a_site(name: str, plugin: Plugin, leaf: type, ratio: float) -> None:
    before = modern(name)
    weighted = [path for path, layer in before.leaves() if isinstance(getattr(layer, "weight", None), nn.Parameter)]
    layers = [path for path in weighted if before.leaf(path).weight.dim() > 1]
    assert [site.path for site in sites_of(plugin, before)] == layers
    after = all_sites(plugin, before.fork())
    data = evidence(before)
    assert any(isinstance(layer, leaf) for _, layer in after.leaves())
    assert parity(after, data).ok
    assert len(to_onnx(before)) / len(to_onnx(after)) > ratio
    if isinstance(plugin, QuantizeWeights):
        assert variance_lost(before, after, data.batches) < 1e-3


@pytest.mark.parametrize("plugin", [QuantizeWeights(), Binarize()], ids=lambda plugin: type(plugin).__name__)
@pytest.mark.parametrize("name", MODERN)
def test_the_kit_finds_nothing_on(name: str, plugin: Plugin) -> None:
    findings = check_plugin(plugin, {name: modern(name)}, most_sites=3)
    assert not findings, "\n".join(map(str, findings))


def test_inputs_of_one_bit_are_for_rows_and_images_and_the_others_say_so() -> None:
    plugin = Binarize(activations="binary")
    assert "tokens or channels-last images" in reason(plugin, modern("channels-last"), "block1.wide")
    assert "is a Conv3d" in reason(plugin, modern("volumes"), "unit1.0")
    assert "is a ConvTranspose1d" in reason(plugin, modern("signals"), "up.0")
