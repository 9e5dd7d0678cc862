"""Convolutions channels last while a network is trained: the same function up to rounding, in less time.

oneDNN's and cuDNN's kernels read an image pixel by pixel, all channels of a pixel together. With the weights laid out
that way everything between two convolutions follows by itself; afterwards the weights lie as they did before.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from compressor.graph.leaf import Leaf
from compressor.graph.network import Network
from compressor.train.precision import failure_of_one_step
from compressor.train.spec import Precision

_log = logging.getLogger(__name__)


@contextmanager
def channels_last(network: Network, precision: Precision) -> Iterator[bool]:
    """The weights of torch's own convolutions channels last meanwhile, where that pays; says whether they are.

    It pays on the CPU, and on accelerators in bfloat16. A network that cannot be trained so is left as it is: one step
    of a copy tells (some module of the user's may ask for contiguous images).
    """
    weights = _weights(network)
    pays = bool(weights) and (network.device.type == "cpu" or precision == "bfloat16")
    obstacle = _obstacle(network, precision) if pays else ""
    if obstacle:
        _log.info("trained with contiguous images: %s", obstacle)
    if obstacle or not pays:
        yield False
        return
    _lay(weights)
    try:
        yield True
    finally:
        for weight in weights:
            weight.data = weight.data.clone(memory_format=torch.contiguous_format)


def _weights(network: Network) -> list[nn.Parameter]:
    convolutions = [leaf for _, leaf in network.leaves() if isinstance(leaf, nn.Conv2d) and not isinstance(leaf, Leaf)]
    return [weight for leaf in convolutions for weight in leaf.parameters() if weight.dim() == 4]


def _lay(weights: list[nn.Parameter]) -> None:
    """``contiguous(memory_format=…)`` leaves weights of one input channel alone, and what follows them would too."""
    for weight in weights:
        outputs, inputs, height, width = weight.shape
        strides = (inputs * height * width, 1, width * inputs, inputs)
        weight.data = torch.empty_strided(
            (outputs, inputs, height, width), strides, dtype=weight.dtype, device=weight.device
        ).copy_(weight.data)


def _obstacle(network: Network, precision: Precision) -> str:
    trial = network.fork()
    _lay(_weights(trial))
    return failure_of_one_step(trial, precision)
