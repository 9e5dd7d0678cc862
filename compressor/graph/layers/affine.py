"""Layers that take up an affine map of their output channels: s·(W∗x + b) + t = (s·W)∗x + (s·b + t)."""

from __future__ import annotations

import copy

from torch import Tensor, nn


def scaled_rows(layer: nn.Conv2d | nn.Linear, scale: Tensor, shift: Tensor) -> nn.Module:
    """A layer whose weight has its outputs first."""
    weight = layer.weight.detach().double() * scale.to(layer.weight.device).view(-1, *[1] * (layer.weight.dim() - 1))
    return with_weights(layer, weight, moved_bias(layer.bias, scale, shift))


def moved_bias(bias: Tensor | None, scale: Tensor, shift: Tensor) -> Tensor:
    return shift if bias is None else bias.detach().double() * scale.to(bias.device) + shift.to(bias.device)


def with_weights(layer: nn.Module, weight: Tensor, bias: Tensor) -> nn.Module:
    """A copy of the layer's settings holding new parameters."""
    fresh = copy.copy(layer)
    fresh._parameters = {
        "weight": nn.Parameter(weight.float(), requires_grad=False),
        "bias": nn.Parameter(bias.float(), requires_grad=False),
    }
    return fresh
