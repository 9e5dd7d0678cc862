"""What is a weighted sum per channel, as the depthwise convolution that computes it in integers.

    BatchNorm at inference    y_c = a_c · x_c + t_c             a kernel of one weight, a_c
    average over windows      y_c = 1/k · Σ x_c over the window    a kernel of k equal weights

Either way every weight of a channel is its largest, which is a whole number of steps: the weights round to themselves.
ONNX Runtime has no integer BatchNorm, and its integer average costs many times this convolution.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from compressor.graph.layers.affine import with_weights
from compressor.graph.layers.batch_norm import affine_of
from compressor.graph.network import Network

_CONVOLUTIONS: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)


def depthwise_form(network: Network, node: fx.Node, leaf: nn.Module) -> tuple[nn.Module, bool] | None:
    """The depthwise convolution equal to the leaf that ``node`` calls, and whether it learns; None: there is none."""
    if len(network.calls_of(str(node.target))) != 1:
        return None
    channels, *sides = network.shape(node.all_input_nodes[0])
    if len(sides) not in _CONVOLUTIONS:
        return None
    if isinstance(leaf, _BatchNorm) and leaf.running_mean is not None:
        scale, shift = affine_of(leaf)
        ones = (1,) * len(sides)
        return _depthwise(scale, ones, ones, shift), leaf.affine
    if isinstance(leaf, _AVERAGES) and _whole_windows(leaf):
        kernel, stride = (_each(size, len(sides)) for size in (leaf.kernel_size, leaf.stride))
        weights = torch.full((channels,), 1 / math.prod(kernel), device=network.device)
        return _depthwise(weights, kernel, stride, torch.zeros_like(weights)), False
    return None


def _whole_windows(pool: nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d) -> bool:
    """Whether it averages over as many values everywhere."""
    return not any(_each(pool.padding, 1)) and not pool.ceil_mode and getattr(pool, "divisor_override", None) is None


def _each(size: int | tuple[int, ...], axes: int) -> tuple[int, ...]:
    return (size,) * axes if isinstance(size, int) else tuple(size)


def _depthwise(weights: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], bias: Tensor) -> nn.Module:
    """A convolution whose channel c has ``weights[c]`` all over its kernel, and ``bias[c]``."""
    channels = len(weights)
    conv = _CONVOLUTIONS[len(kernel)](channels, channels, kernel, stride, groups=channels)  # type: ignore[arg-type]
    whole = weights.view(-1, 1, *[1] * len(kernel)).expand_as(conv.weight)
    return with_weights(conv.to(weights.device), whole, bias)
