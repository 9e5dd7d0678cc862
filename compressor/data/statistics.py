"""Mean and deviation per channel, in one pass over bounded memory."""

from __future__ import annotations

import torch
from torch import Tensor

from compressor.data.dataset import unit_scale

_CHUNK = 1024


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of ``(N, C, H, W)``, on the 0…1 scale where the images are uint8.

    A constant channel gets deviation 1, so that dividing by it changes nothing.
    """
    channels = images.shape[1]
    total = torch.zeros(channels, dtype=torch.float64)
    squares = torch.zeros(channels, dtype=torch.float64)
    for chunk in torch.split(images, _CHUNK):
        values = unit_scale(chunk).to(torch.float64)
        total += values.sum(dim=(0, 2, 3))
        squares += values.square().sum(dim=(0, 2, 3))
    count = max(images.numel() // channels, 1)
    mean = total / count
    std = (squares / count - mean.square()).clamp_min(0).sqrt()
    std[std < 1e-6] = 1.0
    return tuple(mean.tolist()), tuple(std.tolist())
