"""Two convolutions in a row as one.

    y = W₂ ⋆ (W₁ ⋆ x + b₁) + b₂  =  W ⋆ x + b
    W[o, i, a·d₁ + c·d₂·s₁] += Σ_m W₂[o, m, c] · W₁[m, i, a]         b = b₂ + Σ_{m, c} W₂[o, m, c] · b₁[m]

    kernel    (k₁ − 1)·d₁ + (k₂ − 1)·d₂·s₁ + 1;  k₁ + (k₂ − 1)·s₁ without dilation
    stride    s₁·s₂
    padding   p₁ + p₂·s₁

Exact where p₂ = 0. Else exact but for the rim, ⌈p₂ / s₂⌉ outputs wide: there the second convolution reads zeros, and
the composed one what the first would give beyond the edge of its image. Source: document S4, conv∘conv merging.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressor_plugins.common.replaceable import pair, symmetric_padding


@dataclass(frozen=True)
class Window:
    """Of a convolution without dilation: (vertical, horizontal) each."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


def composed_window(first: nn.Conv2d, second: nn.Conv2d) -> Window:
    """Of the one convolution. Raises ``ValueError`` where one of the two pads its sides differently."""
    kernel, stride, padding = [], [], []
    for axis in (0, 1):
        step = first.stride[axis]
        reach = (first.kernel_size[axis] - 1) * first.dilation[axis]
        kernel.append(reach + (second.kernel_size[axis] - 1) * second.dilation[axis] * step + 1)
        stride.append(step * second.stride[axis])
        padding.append(symmetric_padding(first)[axis] + symmetric_padding(second)[axis] * step)
    return Window(pair(kernel), pair(stride), pair(padding))


@torch.no_grad()
def composed(
    first: nn.Conv2d, second: nn.Conv2d, scale: Tensor | None = None, shift: Tensor | None = None
) -> nn.Conv2d:
    """``second(scale · first(x) + shift)`` as one convolution with a bias; both have one group and pad with zeros.

    ``scale`` and ``shift`` are given per channel between the two.
    """
    weight, bias = _scaled(first, scale, shift)
    form = composed_window(first, second)
    total = weight.new_zeros(second.out_channels, first.in_channels, *form.kernel)
    (high, wide), (down, right) = first.kernel_size, first.dilation
    for row in range(second.kernel_size[0]):
        for column in range(second.kernel_size[1]):
            top, left = row * second.dilation[0] * first.stride[0], column * second.dilation[1] * first.stride[1]
            part = torch.einsum("om,mikl->oikl", second.weight[:, :, row, column].to(weight), weight)
            total[:, :, top : top + (high - 1) * down + 1 : down, left : left + (wide - 1) * right + 1 : right] += part
    joined = nn.Conv2d(first.in_channels, second.out_channels, form.kernel, form.stride, form.padding)
    joined = joined.to(first.weight)
    joined.weight.copy_(total)
    offset = torch.einsum("omkl,m->o", second.weight.to(bias), bias)
    joined.bias.copy_(offset if second.bias is None else offset + second.bias)  # type: ignore[union-attr]
    return joined


@torch.no_grad()
def affine_between(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """``(scale, shift)`` per channel with ``after ≈ scale · before + shift``, by least squares over (N, C, H, W)."""
    x, y = (value.double().transpose(0, 1).flatten(1) for value in (before, after))
    x_mean, y_mean = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
    x, y = x - x_mean, y - y_mean
    scale = (x * y).mean(1) / x.square().mean(1).clamp_min(1e-12)
    return scale.to(before.dtype), (y_mean[:, 0] - scale * x_mean[:, 0]).to(before.dtype)


def _scaled(first: nn.Conv2d, scale: Tensor | None, shift: Tensor | None) -> tuple[Tensor, Tensor]:
    """Weight and bias in double precision, with what follows folded in."""
    weight = first.weight.double()
    bias = weight.new_zeros(first.out_channels) if first.bias is None else first.bias.double()
    if scale is not None:
        weight, bias = weight * scale.to(weight)[:, None, None, None], bias * scale.to(weight)
    return weight, bias if shift is None else bias + shift.to(weight)
