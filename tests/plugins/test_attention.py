"""Plugins on a network with an attention, where the batch is not everywhere the first dimension."""

from __future__ import annotations

import pytest
import torch
from networks import make_sensitive
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.network import Network
from compressor.plugin import refusals_of
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
    plugin = make(name)
    found = check_plugin(plugin, {"attentive": network}, most_sites=2)
    findings = [finding for finding in found if finding.check != "there-is-something-to-rewrite"]
    assert not findings, "\n".join(map(str, findings))
    if name in ("binarize", "quantize", "quantize-weights"):
        reasons = {refused.path: refused.reason for refused in refusals_of(plugin, network)}
        assert "batch elsewhere than in the first dimension" in reasons["attention.out_proj"]
