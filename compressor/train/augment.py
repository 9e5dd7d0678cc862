"""Random changes of a whole batch at once, on the device it is on. Labels are never touched."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from compressor.train.spec import Augmentation


def augment(images: Tensor, spec: Augmentation, generator: Generator) -> Tensor:
    """Images ``(N, C, H, W)`` on the unit scale, each changed at random; same shape, the argument is left alone.

    ``generator`` lives on the device of the images.
    """
    if spec.flip:
        images = _flip(images, generator)
    if spec.rotate:
        images = _rotate(images, spec.rotate, generator)
    if spec.shift:
        images = _shift(images, spec.shift, generator)
    if spec.noise:
        images = images + spec.noise * torch.randn(images.shape, generator=generator, device=images.device)
    if spec.cutout:
        images = _cutout(images, spec.cutout, generator)
    return images


def _flip(images: Tensor, generator: Generator) -> Tensor:
    chosen = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return torch.where(chosen.view(-1, 1, 1, 1), images.flip(3), images)


def _rotate(images: Tensor, degrees: float, generator: Generator) -> Tensor:
    """Bilinear, about the centre, black outside; pixels stay square whatever the sides of the image."""
    count, _, height, width = images.shape
    draws = torch.rand(count, generator=generator, device=images.device)
    angle = (2 * draws - 1) * math.radians(degrees)
    matrix = torch.zeros(count, 2, 3, device=images.device)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
    matrix[:, 0, 1] = -angle.sin() * (height / width)
    matrix[:, 1, 0] = angle.sin() * (width / height)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _shift(images: Tensor, most: int, generator: Generator) -> Tensor:
    """Cut every image at a random place out of itself with a black frame; one gather over flattened pixels."""
    count, channels, height, width = images.shape
    device = images.device
    framed = F.pad(images, (most, most, most, most))
    down = torch.randint(2 * most + 1, (count, 1), generator=generator, device=device)
    right = torch.randint(2 * most + 1, (count, 1), generator=generator, device=device)
    rows = down + torch.arange(height, device=device)
    columns = right + torch.arange(width, device=device)
    places = (rows[:, :, None] * framed.shape[3] + columns[:, None, :]).view(count, 1, -1).expand(-1, channels, -1)
    return framed.flatten(2).gather(2, places).view(images.shape)


def _cutout(images: Tensor, side: int, generator: Generator) -> Tensor:
    """One square per image, centred anywhere in it, so that it may reach over the border (DeVries & Taylor 2017)."""
    count, _, height, width = images.shape
    device = images.device
    top = torch.randint(height, (count, 1), generator=generator, device=device) - side // 2
    left = torch.randint(width, (count, 1), generator=generator, device=device) - side // 2
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    inside_rows = (rows >= top) & (rows < top + side)
    inside_columns = (columns >= left) & (columns < left + side)
    return images.masked_fill((inside_rows[:, :, None] & inside_columns[:, None, :]).unsqueeze(1), 0.0)
