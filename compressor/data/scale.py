"""From raw pixels to what a network takes."""

from __future__ import annotations

import torch
from torch import Tensor

from compressor.data.split import BatchInputs
from compressor.graph import nested


def unit_scale(inputs: BatchInputs) -> BatchInputs:
    """uint8 0…255 as float32 0…1; everything else as it is."""
    return nested.map_tensors(_unit, inputs)


def _unit(images: Tensor) -> Tensor:
    return images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images


def standardised(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """``(images − mean) / std`` per channel; whole numbers, and what has no channels, as they are."""
    if not images.dtype.is_floating_point or not mean:
        return images
    column = (-1, *(1,) * (images.ndim - 2))
    below, by = (torch.tensor(values, device=images.device).view(column) for values in (mean, std))
    return (images - below).div_(by)
