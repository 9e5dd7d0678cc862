"""Two plugins on one network: each works or refuses, and what comes out trains, exports and agrees with its file."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from rewriting import apply, parity

from compressor.errors import Refusal
from compressor.evidence import Evidence
from compressor.graph.network import Network
from compressor.plugin import Plugin, sites_of

MAY_JUMP = 0.1
"""Share of samples that a rounding error may push over a threshold, where activations are signs."""


def in_a_row(network: Network, data: Evidence, *plugins: Plugin, most: int = 2) -> list[int]:
    """Rewrite up to ``most`` sites of each plugin, from the last; how many each did. Checks the result."""
    done = [_some(plugin, network, data, most) for plugin in plugins]
    data.calibrate(network)
    agreement = parity(network, data)
    signs = any(getattr(plugin, "activations", "") == "binary" for plugin in plugins)
    assert agreement.ok or agreement.outside <= MAY_JUMP * signs
    images, labels = data.batches[0]
    assert torch.isfinite(network.eval()(images)).all()
    network.train()
    F.cross_entropy(network(images), labels).backward()
    assert not [name for name, parameter in network.module.named_parameters() if parameter.grad is None]
    return done


def _some(plugin: Plugin, network: Network, data: Evidence, most: int) -> int:
    done = 0
    for attempt in range(1, most + 1):
        sites = sites_of(plugin, network)
        try:
            if len(sites) >= attempt:
                apply(plugin, network, sites[-attempt].path, data)
                done += 1
        except Refusal:
            continue
    return done
