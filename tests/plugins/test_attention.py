"""Plugins on a network with an attention, where the batch is not everywhere the first dimension."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from integers import options_of
from networks import make_sensitive
from rewriting import apply
from torch import Tensor, nn

from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.network import Network
from compressor.graph.onnx_reader import read_onnx
from compressor.graph.pt2 import read_pt2, write_pt2
from compressor.measure.parity import numeric_parity
from compressor.plugin import refusals_of, sites_of
from compressor.registry import discover, make
from compressor.testing import check_plugin

SHAPE = (3, 16, 16)


class Attentive(nn.Module):
    """Sixteen patches of an image that attend to one another, the batch in the middle as torch's default has it."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.attention, self.head = nn.Conv2d(3, 16, 4, 4), nn.MultiheadAttention(16, 4), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).permute(2, 0, 1)
        attended, _ = self.attention(tokens, tokens, tokens)
        scores: Tensor = self.head((tokens + attended).mean(0))
        return scores


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return capture(make_sensitive(Attentive(), SHAPE), SHAPE)


def test_multiply_accumulates_inside_an_attention_are_counted(network: Network) -> None:
    projections = 16 * 16 * 48 + 16 * 16 * 16
    attention = 2 * 4 * 16 * 16 * 4  # of four heads, scores and their use
    assert network_cost(network).mac_count == 16 * 48 * 16 + projections + attention + 16 * 5


@pytest.mark.parametrize("name", [found.name for found in discover() if found.distribution == "compressor"])
def test_every_plugin_acts_or_refuses_with_its_reason(network: Network, name: str) -> None:
    plugin = make(name, options_of(name))
    found = check_plugin(plugin, {"attentive": network}, most_sites=2)
    findings = [finding for finding in found if finding.check != "there-is-something-to-rewrite"]
    assert not findings, "\n".join(map(str, findings))
    if name in ("binarize", "quantize", "quantize-weights"):
        assert {"attention_linear", "attention.out_proj"} <= {site.path for site in sites_of(plugin, network)}


class WrittenOut(nn.Module):
    """The same with the layers after it, row by row (``rows``) or with the sequence first."""

    def __init__(self, rows: bool, between: Callable[[Tensor], Tensor] = torch.relu) -> None:
        super().__init__()
        self.rows, self.between = rows, between
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.query, self.key, self.value, self.out = (nn.Linear(16, 16) for _ in range(4))
        self.wide, self.middle, self.narrow = nn.Linear(16, 32), nn.Linear(32, 32), nn.Linear(32, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).permute(2, 0, 1)
        length, count, width = tokens.shape
        query, key, value = (
            layer(tokens).reshape(length, count * 4, 4).transpose(0, 1) for layer in (self.query, self.key, self.value)
        )
        found = ((query @ key.transpose(1, 2) / 2).softmax(-1) @ value).transpose(0, 1)
        if self.rows:
            tokens = tokens + self.out(found.reshape(length * count, width)).view(length, count, width)
        else:
            tokens = tokens + self.out(found.reshape(length, count, width))
        hidden = self.wide(tokens.reshape(-1, width) if self.rows else tokens)
        hidden = torch.relu(self.middle(self.between(hidden)))
        tokens = tokens + self.narrow(hidden).view(length, count, width)
        scores: Tensor = self.head(tokens.mean(0))
        return scores


class Encoded(nn.Module):
    """Torch's own encoder layer, the sequence first or second."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.patches, self.head = nn.Conv2d(3, 16, 4, 4), nn.Linear(16, 5)
        self.block = nn.TransformerEncoderLayer(16, 4, 24, batch_first=batch_first)
        self.order = (0, 2, 1) if batch_first else (2, 0, 1)

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.block(self.patches(x).flatten(2).permute(self.order))
        scores: Tensor = self.head(tokens.mean(self.order.index(2)))
        return scores


OF_LINEAR = {
    "rows, changed in place": (lambda: WrittenOut(True, torch.relu_), 8),
    "sequence first": (lambda: WrittenOut(False), 8),
    "encoder": (lambda: Encoded(True), 5),
    "encoder, sequence first": (lambda: Encoded(False), 5),
}


@pytest.mark.parametrize("name", OF_LINEAR)
def test_linear_layers_are_layers_wherever_the_batch_is(name: str, tmp_path: Path) -> None:
    """Captured, written and read, rewritten and read, exported: the same layers and the same numbers."""
    made, count = OF_LINEAR[name]
    model = make_sensitive(made(), SHAPE)
    network, images = capture(model, SHAPE), torch.randn(5, *SHAPE)
    linear = [path for path, leaf in network.leaves() if isinstance(leaf, nn.Linear)]
    assert len(linear) == count
    assert torch.equal(network(images), model(images))
    assert numeric_parity(network, to_onnx(network), [images]).ok
    plugin, rewritten = make("quantize-weights"), network.fork()
    for path in linear[:2]:
        apply(plugin, rewritten, path)
    assert not torch.allclose(rewritten(images), network(images), atol=1e-5)
    write_pt2(rewritten, tmp_path / "model.pt2")
    written = read_pt2(tmp_path / "model.pt2")
    assert torch.equal(written(images), rewritten(images))
    assert {path for path, leaf in written.leaves() if isinstance(leaf, nn.Linear)} >= {*linear[2:]}
    file = tmp_path / "model.onnx"
    file.write_bytes(to_onnx(rewritten))
    assert numeric_parity(rewritten, file.read_bytes(), [images]).ok
    again = read_onnx(file)
    assert torch.allclose(again(images), rewritten(images), atol=1e-4)
    assert len([path for path, leaf in again.leaves() if isinstance(leaf, nn.Linear)]) == count


@pytest.mark.parametrize("made", [Attentive, lambda: Encoded(True), lambda: Encoded(False)])
@pytest.mark.parametrize("free", [True, False], ids=["any batch", "batch of one"])
def test_torchs_own_file_of_an_attention_is_read(made: Callable[[], nn.Module], free: bool, tmp_path: Path) -> None:
    """Heads are joined with the batch there, and the file may fix the batch size: any batch can be read of it."""
    model, file = made().eval(), tmp_path / "model.onnx"
    axes = {"x": {0: "batch"}} if free else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, of itself
        torch.onnx.export(model, (torch.randn(1, *SHAPE),), file, dynamo=False, input_names=["x"], dynamic_axes=axes)
    network, images = read_onnx(file), torch.randn(3, *SHAPE)
    assert torch.allclose(network(images), model(images), atol=1e-5)
    assert sum(isinstance(leaf, nn.Linear) for _, leaf in network.leaves()) in (3, 5)


@pytest.mark.parametrize("rows", [True, False])
def test_they_train_as_before(rows: bool) -> None:
    model = make_sensitive(WrittenOut(rows), SHAPE)
    network, images = capture(model, SHAPE), torch.randn(5, *SHAPE)
    model.train()(images).sum().backward()
    network.train()(images).sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, parameter in network.module.named_parameters():
        assert torch.allclose(parameter.grad, gradients[name], atol=1e-5), name


def test_one_among_rows_that_no_view_stands_beside_is_refused_with_the_reason() -> None:
    network = capture(WrittenOut(True, lambda rows: rows - rows.mean(1, keepdim=True)).eval(), SHAPE)
    reasons = {refused.path: refused.reason for refused in refusals_of(make("quantize-weights"), network)}
    assert "batch elsewhere than in the first dimension" in reasons["middle"]
