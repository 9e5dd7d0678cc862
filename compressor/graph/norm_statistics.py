"""The running statistics of BatchNorm, told anew from some batches."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from compressor.graph.device import at_work
from compressor.graph.frozen import Frozen
from compressor.graph.nested import Nested, joined, samples, to_device
from compressor.graph.network import Network


def estimate_norms(network: Network, batches: Sequence[Nested], passes: int, kept: Container[str]) -> bool:
    """The running statistics of every BatchNorm anew but those ``kept``, each sample counting alike; whether any were.

    ``batches``: what the network takes. A batch counts as much as it has samples; one sample alone, of which there may
    be no variance, joins the batch before, and without another nothing is estimated.
    """
    leaves = (leaf for path, leaf in network.leaves() if path not in kept)
    norms = [leaf for leaf in leaves if isinstance(leaf, _BatchNorm)]
    norms = [norm for norm in norms if norm.track_running_stats and not isinstance(norm, Frozen)]
    if not norms or sum(map(samples, batches)) < 2:
        return False
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    seen = 0
    with at_work(network) as device, torch.no_grad():
        for _ in range(passes):
            for inputs in _whole_batches(batches):
                seen += samples(inputs)
                for norm in norms:
                    norm.momentum = samples(inputs) / seen
                network(to_device(inputs, device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
    return True


def _whole_batches(batches: Sequence[Nested]) -> Iterator[Nested]:
    """Every batch; one sample alone, of which a layer may have no variance, comes with those before."""
    waiting: Nested = None
    for inputs in batches:
        if waiting is not None and samples(inputs) > 1 and samples(waiting) > 1:
            yield waiting
            waiting = inputs
        else:
            waiting = inputs if waiting is None else joined([waiting, inputs])
    if waiting is not None:
        yield waiting
