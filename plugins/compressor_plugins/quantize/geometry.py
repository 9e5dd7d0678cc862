"""The settings of a torch layer without its tensors, and how ONNX writes them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

Weighted = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
KINDS: tuple[type[nn.Module], ...] = Weighted.__args__


def shell_of(layer: nn.Module) -> nn.Module:
    """A copy of the layer whose tensors take no memory."""
    shell = copy.copy(layer)
    shell._parameters = {
        name: None if held is None else nn.Parameter(torch.empty_like(held, device="meta"))
        for name, held in layer._parameters.items()
    }
    return shell


def filled(shell: nn.Module, weight: Tensor, bias: Tensor) -> nn.Module:
    """The layer with these tensors."""
    layer = copy.copy(shell)
    layer._parameters = {"weight": nn.Parameter(weight.detach()), "bias": nn.Parameter(bias.detach())}
    return layer


def output_axis(shell: nn.Module) -> int:
    """The axis of the weight along which outputs lie."""
    return 1 if isinstance(shell, _ConvTransposeNd) else 0


def why_no_integers(layer: nn.Module) -> str:
    """Why ONNX Runtime has no integer form of a layer, or ""."""
    if isinstance(layer, _ConvTransposeNd):
        return "a transposed convolution has no integer kernel in ONNX Runtime: quantize-weights stores it in 8 bits"
    if isinstance(layer, _ConvNd) and layer.padding_mode != "zeros":
        return f"pads with {layer.padding_mode}, not zeros"
    return ""


def attributes(conv: _ConvNd) -> dict[str, Any]:
    """The attributes of ONNX's Conv, defaults left out."""
    axes = len(conv.kernel_size)
    begin, end = padding_of(conv)
    values: dict[str, Sequence[int]] = {
        "strides": tuple(conv.stride),
        "dilations": tuple(conv.dilation),
        "pads": (*begin, *end),
    }
    defaults = {"strides": (1,) * axes, "dilations": (1,) * axes, "pads": (0,) * 2 * axes}
    found: dict[str, Any] = {name: value for name, value in values.items() if tuple(value) != defaults[name]}
    if conv.groups != 1:
        found["group"] = conv.groups
    return {"kernel_shape": tuple(conv.kernel_size), **found}


def padding_of(conv: _ConvNd) -> tuple[list[int], list[int]]:
    """Zeros before and behind each axis."""
    if conv.padding == "same":
        totals = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
        return [total // 2 for total in totals], [total - total // 2 for total in totals]
    both = [0] * len(conv.kernel_size) if isinstance(conv.padding, str) else [int(p) for p in conv.padding]
    return both, both
