"""Two plugins on one network, in both orders: either it works or it is refused, there is no third outcome."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from compressor_plugins.binarize.plugin import Binarize
from compressor_plugins.layer_removal.plugin import LayerRemoval
from networks import NETWORKS
from rewriting import apply, evidence, named, parity

from compressor.errors import Refusal
from compressor.plugin import Plugin, sites_of

REMOVAL = LayerRemoval()
PAIRS = [
    pytest.param(first, second, id=f"{number}")
    for number, (first, second) in enumerate([
        (Binarize(), REMOVAL), (REMOVAL, Binarize()),
        (Binarize(activations="binary"), REMOVAL), (REMOVAL, Binarize(activations="binary")),
    ])
]  # fmt: skip

MAY_JUMP = 0.1
"""Share of samples that a rounding error may push over a threshold somewhere, where activations are signs."""


def binary(*plugins: Plugin) -> bool:
    return any(getattr(plugin, "activations", "float") == "binary" for plugin in plugins)


def some(plugin: Plugin, network, data, most: int) -> int:
    """Rewrite up to ``most`` sites, every third that is there; returns how many were not refused."""
    done = 0
    for _ in range(most):
        sites = sites_of(plugin, network)
        if not sites:
            break
        try:
            apply(plugin, network, sites[(3 * done + 1) % len(sites)].path, data)
        except Refusal:
            continue
        done += 1
    return done


@pytest.mark.parametrize(("first", "second"), PAIRS)
@pytest.mark.parametrize("name", NETWORKS)
def test_both_orders(name: str, first: Plugin, second: Plugin) -> None:
    network = named(name)
    data = evidence(network, 32)
    assert some(first, network, data, 3)
    assert some(second, network, data, 3)
    data.calibrate(network)
    agreement = parity(network, data)
    assert agreement.ok or agreement.outside <= MAY_JUMP * binary(first, second)
    images, labels = data.batches[0]
    network.train()
    F.cross_entropy(network(images), labels).backward()
    missing = [name for name, parameter in network.module.named_parameters() if parameter.grad is None]
    assert not missing
    assert torch.isfinite(network.eval()(images)).all()
