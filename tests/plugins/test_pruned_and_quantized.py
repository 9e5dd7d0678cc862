"""Pruning and quantization with every other plugin, in both orders: it works, or is refused with a reason."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from compressor_plugins.binarize.plugin import Binarize
from compressor_plugins.layer_removal.plugin import LayerRemoval
from compressor_plugins.magnitude_prune.plugin import MagnitudePrune
from compressor_plugins.quantize_weights.plugin import QuantizeWeights
from rewriting import apply, evidence, named, parity

from compressor.errors import Refusal
from compressor.evidence import Evidence
from compressor.graph.network import Network
from compressor.plugin import Plugin, refusals_of, sites_of

QUANTIZE, CHANNELS, WEIGHTS = QuantizeWeights(), MagnitudePrune(block=0), MagnitudePrune(structure="weights")
EMPTY = MagnitudePrune(structure="empty-filters", block=0)
BINARY, SIGNS, REMOVAL = Binarize(), Binarize(activations="binary"), LayerRemoval()

WORK = [
    (QUANTIZE, CHANNELS), (QUANTIZE, WEIGHTS), (QUANTIZE, BINARY), (QUANTIZE, SIGNS), (QUANTIZE, REMOVAL),
    (CHANNELS, QUANTIZE), (CHANNELS, WEIGHTS), (CHANNELS, BINARY), (CHANNELS, SIGNS), (CHANNELS, REMOVAL),
    (WEIGHTS, CHANNELS), (WEIGHTS, REMOVAL),
    (BINARY, QUANTIZE), (BINARY, CHANNELS), (BINARY, WEIGHTS), (SIGNS, QUANTIZE), (SIGNS, CHANNELS),
    (REMOVAL, QUANTIZE), (REMOVAL, CHANNELS), (REMOVAL, WEIGHTS),
]  # fmt: skip
REFUSE = [
    (WEIGHTS, QUANTIZE, "stores its weights in a form of its own"),
    (WEIGHTS, BINARY, "stores its weights in a form of its own"),
    (WEIGHTS, SIGNS, "stores its weights in a form of its own"),
    (SIGNS, WEIGHTS, "takes signs"),
    (QUANTIZE, EMPTY, "every channel has weights"),
]
MAY_JUMP = 0.1
"""Share of samples that a rounding error may push over a threshold somewhere, where activations are signs."""


def title(plugin: Plugin) -> str:
    return "-".join([type(plugin).__name__, *(str(getattr(plugin, name, "")) for name in ("structure", "activations"))])


def some(plugin: Plugin, network: Network, data: Evidence, most: int = 2) -> int:
    """Rewrite up to ``most`` sites, every third that is there; returns how many were not refused."""
    done = 0
    for attempt in range(most):
        sites = sites_of(plugin, network)
        if sites:
            try:
                apply(plugin, network, sites[(3 * attempt + 1) % len(sites)].path, data)
            except Refusal:
                continue
            done += 1
    return done


@pytest.mark.parametrize(("first", "second"), WORK, ids=title)
@pytest.mark.parametrize("name", ["resnet", "squeezenet"])
def test_both_apply_train_and_export(name: str, first: Plugin, second: Plugin) -> None:
    network = named(name)
    data = evidence(network, 32)
    assert some(first, network, data)
    assert some(second, network, data)
    data.calibrate(network)
    agreement = parity(network, data)
    assert agreement.ok or (SIGNS in (first, second) and agreement.outside <= MAY_JUMP)
    images, labels = data.batches[0]
    network.train()
    F.cross_entropy(network(images), labels).backward()
    assert not [name for name, parameter in network.module.named_parameters() if parameter.grad is None]
    assert torch.isfinite(network.eval()(images)).all()


@pytest.mark.parametrize(("first", "second", "why"), REFUSE, ids=title)
def test_the_second_is_refused_with_the_reason(first: Plugin, second: Plugin, why: str) -> None:
    network = named("vgg")
    data = evidence(network, 32)
    for found in sites_of(first, network):
        apply(first, network, found.path, data)
    assert not sites_of(second, network)
    assert any(why in refused.reason for refused in refusals_of(second, network))
