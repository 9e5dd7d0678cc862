"""Files that plugins' layers are written to are networks again: dense floats that compute the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from rewriting import apply, chain, evidence
from torch import nn

from compressor.export.emit import to_onnx
from compressor.graph.network import Network
from compressor.graph.onnx_reader import read_onnx
from compressor.plugin import sites_of
from compressor.registry import make

PLUGINS = {
    "binarize": {},
    "binarize, activations": {"activations": "binary"},
    "conv3d": {"min_bytes": 0},
    "conv3d, same": {"mode": "same", "min_bytes": 0},
    "input-mask": {},
    "magnitude-prune": {"structure": "weights"},
    "meta-head": {},
    "quantize-weights": {},
}


def network() -> Network:
    return chain(
        nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(128, 40), nn.ReLU(), nn.Linear(40, 10), shape=(3, 16, 16),
    )  # fmt: skip


@pytest.mark.parametrize("name", PLUGINS)
def test_the_file_of_a_rewritten_network_can_be_read(name: str, tmp_path: Path) -> None:
    original = network()
    rewritten, data = original.fork(), evidence(original, 16)
    plugin = make(name.partition(",")[0], PLUGINS[name])
    paths = [site.path for site in sites_of(plugin, rewritten)]
    for path in paths[:4]:
        apply(plugin, rewritten, path, data)
    (tmp_path / "model.onnx").write_bytes(to_onnx(rewritten.eval()))
    again = read_onnx(tmp_path / "model.onnx")
    x = torch.randn(8, 3, 16, 16)
    with torch.no_grad():
        expected, found, before = rewritten(x), again(x), original.eval()(x)
    assert paths
    assert {path for path, leaf in again.leaves() if isinstance(leaf, nn.Linear)} == {"10", "12"}
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert not torch.allclose(found, before, rtol=1e-3, atol=1e-3 * float(before.abs().max()))
