"""Calibration activations for fits inside a rewrite, within bounds on memory and time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, fx

from compressor.evidence import Evidence
from compressor.graph.network import Network
from compressor_plugins.common.layout import size

MOST_VALUES = 2**24
"""Values of the largest recorded activation: 64 MiB of float32."""
INPUT_VALUES, FEWEST = 1 << 19, 4
"""Values of the inputs of one pass, and samples at least: 512 images at 32×32×1, four at 3×224×224."""
ROWS = 4096
"""More samples where a fit would see fewer rows: layers whose maps are small, or that have none."""


def activations(evidence: Evidence, network: Network, nodes: Sequence[fx.Node]) -> list[Tensor]:
    """Eval-mode values ``(N, …)`` of ``nodes`` on calibration samples: few where the network is large and its maps are,
    since an edit of a network asks this at every site. The network's mode is left as it was.
    """
    largest = max(math.prod(network.shape(node)) for node in nodes)
    positions = min(math.prod(size(network, node)) for node in nodes)
    enough = evidence.within(INPUT_VALUES, least=max(FEWEST, math.ceil(ROWS / positions)))
    training = network.root.training
    try:
        values = enough.first(max(MOST_VALUES // largest, 1)).activations(network, nodes)
    finally:
        network.train(training)
    return [values[node.name] for node in nodes]
