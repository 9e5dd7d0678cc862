"""Random changes of a whole batch at once, on the device it is on.

What moves an image moves a map of it, such as the classes of its pixels, in the same way.
"""

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
    return augmented(images, None, spec, generator)[0]


def augmented(
    images: Tensor, maps: Tensor | None, spec: Augmentation, generator: Generator
) -> tuple[Tensor, Tensor | None]:
    """The same, with what is said of every pixel ``(N, …, H, W)`` moved along: mirrored and cropped.

    Shifts and turns uncover places of which a map says nothing, so that they are for images alone.
    """
    if spec.crop:
        images, maps = _crop(images, maps, spec.crop, generator)
    if spec.flip:
        chosen = torch.rand(len(images), generator=generator, device=images.device) < 0.5
        images, maps = _flip(images, chosen), None if maps is None else _flip(maps, chosen)
    if spec.rotate:
        images = _rotate(images, spec.rotate, generator)
    if spec.shift:
        images = _shift(images, spec.shift, generator)
    if spec.noise:
        images = images + spec.noise * torch.randn(images.shape, generator=generator, device=images.device)
    if spec.cutout:
        images = _cutout(images, spec.cutout, generator)
    return images, maps


def _flip(values: Tensor, chosen: Tensor) -> Tensor:
    return torch.where(chosen.view(-1, *(1,) * (values.ndim - 1)), values.flip(-1), values)


def _crop(images: Tensor, maps: Tensor | None, least: float, generator: Generator) -> tuple[Tensor, Tensor | None]:
    """Inception's crop (Szegedy et al., arXiv:1409.4842): a share of the area, ¾ to 4/3 as wide as high, enlarged."""
    area, ratio, right, down = torch.rand(4, len(images), generator=generator, device=images.device)
    area = least + (1 - least) * area
    stretched = torch.exp((2 * ratio - 1) * math.log(4 / 3) / 2)
    wide, high = ((area.sqrt() * factor).clamp_max(1.0) for factor in (stretched, 1 / stretched))
    matrix = torch.zeros(len(images), 2, 3, device=images.device)
    matrix[:, 0, 0], matrix[:, 1, 1] = wide, high
    matrix[:, 0, 2], matrix[:, 1, 2] = (2 * right - 1) * (1 - wide), (2 * down - 1) * (1 - high)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    cut = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if maps is None:
        return cut, None
    mode = "bilinear" if maps.is_floating_point() else "nearest"  # classes do not mix
    layers = maps.reshape(len(maps), -1, *maps.shape[-2:]).float()
    moved = F.grid_sample(layers, grid, mode=mode, padding_mode="border", align_corners=False)
    return cut, moved.reshape(maps.shape).to(maps.dtype)


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
