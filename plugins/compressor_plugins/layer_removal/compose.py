"""Two convolutions in a row as one.

    y = W₂ ⋆ (W₁ ⋆ x + b₁) + b₂  =  W ⋆ x + b
    W[o, i, a·d₁ + c·d₂·s₁] += Σ_m W₂[o, m, c] · W₁[m, i, a]         b = b₂ + Σ_{m, c} W₂[o, m, c] · b₁[m]

    kernel    (k₁ − 1)·d₁ + (k₂ − 1)·d₂·s₁ + 1;  k₁ + (k₂ − 1)·s₁ without dilation
    stride    s₁·s₂
    padding   p₁ + p₂·s₁

Exact where p₂ = 0. Else exact but for the rim, ⌈p₂ / s₂⌉ outputs wide: there the second convolution reads zeros, and
the composed one what the first would give beyond the edge of its image. Source: Lee, "Self-Optimizing Networks".
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from compressor.graph.repair import CONVOLUTIONS
from compressor_plugins.common.replaceable import symmetric_padding


@dataclass(frozen=True)
class Window:
    """Of a convolution without dilation: one number per dimension each."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]


def composed_window(first: _ConvNd, second: _ConvNd) -> Window:
    """Of the one convolution. Raises ``ValueError`` where one of the two pads its sides differently."""
    kernel, stride, padding = [], [], []
    for axis in range(len(first.kernel_size)):
        step = first.stride[axis]
        reach = (first.kernel_size[axis] - 1) * first.dilation[axis]
        kernel.append(reach + (second.kernel_size[axis] - 1) * second.dilation[axis] * step + 1)
        stride.append(step * second.stride[axis])
        padding.append(symmetric_padding(first)[axis] + symmetric_padding(second)[axis] * step)
    return Window(tuple(kernel), tuple(stride), tuple(padding))


@torch.no_grad()
def composed(first: _ConvNd, second: _ConvNd, scale: Tensor | None = None, shift: Tensor | None = None) -> nn.Module:
    """``second(scale · first(x) + shift)`` as one convolution with a bias; both have one group and pad with zeros.

    ``scale`` and ``shift`` are given per channel between the two.
    """
    weight, bias = _scaled(first, scale, shift)
    form = composed_window(first, second)
    outputs, inputs, axes = second.out_channels, first.in_channels, range(len(form.kernel))
    total = weight.new_zeros(outputs, inputs, *form.kernel)
    taps = second.weight.flatten(2).to(weight).unbind(2)
    for one, tap in zip(taps, itertools.product(*(range(side) for side in second.kernel_size)), strict=True):
        starts = [tap[axis] * second.dilation[axis] * first.stride[axis] for axis in axes]
        reach = [(first.kernel_size[axis] - 1) * first.dilation[axis] + 1 for axis in axes]
        place = [slice(starts[axis], starts[axis] + reach[axis], first.dilation[axis]) for axis in axes]
        total[(slice(None), slice(None), *place)] += torch.einsum("om,mi...->oi...", one, weight)
    joined = CONVOLUTIONS[len(form.kernel)](inputs, outputs, form.kernel, form.stride, form.padding).to(first.weight)
    joined.weight.copy_(total)
    offset = torch.einsum("omk,m->o", second.weight.flatten(2).to(bias), bias)
    joined.bias.copy_(offset if second.bias is None else offset + second.bias)
    return joined  # type: ignore[no-any-return]


@torch.no_grad()
def affine_between(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """``(scale, shift)`` per channel with ``after ≈ scale · before + shift``, by least squares over (N, C, …)."""
    x, y = (value.double().transpose(0, 1).flatten(1) for value in (before, after))
    x_mean, y_mean = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
    x, y = x - x_mean, y - y_mean
    scale = (x * y).mean(1) / x.square().mean(1).clamp_min(1e-12)
    return scale.to(before.dtype), (y_mean[:, 0] - scale * x_mean[:, 0]).to(before.dtype)


def _scaled(first: _ConvNd, scale: Tensor | None, shift: Tensor | None) -> tuple[Tensor, Tensor]:
    """Weight and bias in double precision, with what follows folded in."""
    weight = first.weight.double()
    bias = weight.new_zeros(first.out_channels) if first.bias is None else first.bias.double()
    if scale is not None:
        weight, bias = weight * scale.to(weight).view(-1, *[1] * (weight.dim() - 1)), bias * scale.to(weight)
    return weight, bias if shift is None else bias + shift.to(weight)
