"""Calibration activations for fits inside a rewrite, within a bound on memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, fx

from compressor.evidence import Batch, Evidence
from compressor.graph.nested import rows, samples
from compressor.graph.network import Network

MOST_VALUES = 2**24
"""Values of the largest recorded activation: 64 MiB of float32."""


def activations(
    evidence: Evidence, network: Network, nodes: Sequence[fx.Node], *, most: int = MOST_VALUES
) -> list[Tensor]:
    """Eval-mode values ``(N, …)`` of ``nodes`` on as many calibration samples as the bound allows (at least one).

    The network's mode is left as it was.
    """
    largest = max(math.prod(network.shape(node)) for node in nodes)
    training = network.module.training
    try:
        values = leading(evidence, max(most // largest, 1)).activations(network, nodes)
    finally:
        network.train(training)
    return [values[node.name] for node in nodes]


def leading(evidence: Evidence, count: int) -> Evidence:
    """Evidence of the first ``count`` samples alone."""
    batches: list[Batch] = []
    for inputs, target in evidence.batches:
        if count <= 0:
            break
        batches.append((rows(inputs, slice(count)), rows(target, slice(count))))
        count -= samples(inputs)
    return replace(evidence, batches=batches)
