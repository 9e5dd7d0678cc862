"""Images and convolutions channels last while a network is trained: the same function up to rounding, in less time.

oneDNN's and cuDNN's kernels read an image pixel by pixel, all channels of a pixel together. With inputs and weights
laid out that way everything between two convolutions follows by itself; afterwards the weights lie as they did before.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from compressor.graph.leaf import Leaf
from compressor.graph.nested import map_tensors
from compressor.graph.network import Network
from compressor.train.precision import failure_of_one_step
from compressor.train.spec import Precision

_log = logging.getLogger(__name__)


@contextmanager
def channels_last(network: Network, precision: Precision) -> Iterator[bool]:
    """The weights of torch's own convolutions channels last meanwhile, where that pays; says whether images should be.

    It pays for convolutions on the CPU, and in bfloat16 on accelerators. A network that cannot be trained so is left as
    it is: one step of a copy tells (some module of the user's may ask for contiguous images).
    """
    if not _pays(network, precision):
        yield False
        return
    obstacle = _obstacle(network, precision)
    if obstacle:
        _log.info("trained with contiguous images: %s", obstacle)
        yield False
        return
    weights = _weights(network)
    _lay(weights)
    try:
        yield True
    finally:
        for weight in weights:
            weight.data = weight.data.clone(memory_format=torch.contiguous_format)


def laid(values: Tensor) -> Tensor:
    """A copy of ``(N, C, H, W)`` channels last, in the strides too where there is one channel.

    There ``contiguous(memory_format=…)`` changes nothing, and what follows would be contiguous as well. What is no
    batch of images stays as it is.
    """
    if values.ndim != 4:
        return values
    _, channels, height, width = values.shape
    strides = (channels * height * width, 1, width * channels, channels)
    copy = torch.empty_strided(values.shape, strides, dtype=values.dtype, device=values.device)
    return copy.copy_(values)


def _pays(network: Network, precision: Precision) -> bool:
    images = any(weight.dim() == 4 for weight in network.module.parameters())
    return images and (network.device.type == "cpu" or precision == "bfloat16")


def _weights(network: Network) -> list[nn.Parameter]:
    """Those whose layout is nobody's business but torch's: a plugin's leaf may look at its own weights."""
    convolutions = [leaf for _, leaf in network.leaves() if isinstance(leaf, nn.Conv2d) and not isinstance(leaf, Leaf)]
    return [weight for leaf in convolutions for weight in leaf.parameters() if weight.dim() == 4]


def _lay(weights: list[nn.Parameter]) -> None:
    for weight in weights:
        weight.data = laid(weight.data)


def _obstacle(network: Network, precision: Precision) -> str:
    trial = network.fork()
    _lay(_weights(trial))
    return failure_of_one_step(trial, map_tensors(laid, trial.signature.zeros(2, trial.device)), precision)
