"""How an image is brought to the size a network takes: as its owner did it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from compressor.errors import DataError

Interpolation = Literal["bilinear", "bicubic", "nearest-exact"]
_KINDS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest-exact": Image.Resampling.NEAREST,
}


@dataclass(frozen=True)
class Geometry:
    """Either ``size`` (both sides), or ``resize`` (the shorter side, proportions kept) and then ``crop`` (the square in
    the middle), each left out where it is 0. Always antialiased.
    """

    size: int = 0
    resize: int = 0
    crop: int = 0
    interpolation: Interpolation = "bilinear"

    def __bool__(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.size or self.resize or self.crop)

    def of_image(self, image: Image.Image) -> Image.Image:
        """The same for an image of Pillow's."""
        width, height = image.size
        wanted = self._sides(height, width)
        if wanted != (height, width):
            image = image.resize((wanted[1], wanted[0]), _KINDS[self.interpolation])
        if self.crop:
            top, left = self._corner(*wanted)
            image = image.crop((left, top, left + self.crop, top + self.crop))
        return image

    def of_tensor(self, images: Tensor) -> Tensor:
        """The same for a batch ``(N, C, H, W)``, uint8 or float32."""
        height, width = images.shape[2:]
        wanted = self._sides(height, width)
        if wanted != (height, width):
            antialias = self.interpolation != "nearest-exact"
            smooth = F.interpolate(images.float(), size=wanted, mode=self.interpolation, antialias=antialias)
            images = smooth.round_().clamp_(0, 255).to(torch.uint8) if images.dtype == torch.uint8 else smooth
        if self.crop:
            top, left = self._corner(*wanted)
            images = images[:, :, top : top + self.crop, left : left + self.crop]
        return images

    def of_map(self, maps: Tensor) -> Tensor:
        """The same for what images say pixel by pixel, ``(N, …, H, W)`` of any type: no value is mixed with others."""
        plain = maps.flatten(1, -3) if maps.ndim > 3 else maps.unsqueeze(1)
        nearest = Geometry(self.size, self.resize, self.crop, "nearest-exact")
        found = nearest.of_tensor(plain.float()).to(maps.dtype)
        return found.reshape(*maps.shape[:-2], *found.shape[-2:])

    def of_boxes(self, boxes: Tensor, height: int, width: int) -> Tensor:
        """The same for boxes ``(k, 4)``, left, top, right, bottom in pixels of an image of that size; what the crop
        cuts off is gone, and a box that lies outside has no area.
        """
        tall, wide = self._sides(height, width)
        scaled = boxes * boxes.new_tensor([wide / width, tall / height] * 2)
        if not self.crop:
            return scaled
        top, left = self._corner(tall, wide)
        return (scaled - boxes.new_tensor([left, top] * 2)).clamp_(0, self.crop)

    def _sides(self, height: int, width: int) -> tuple[int, int]:
        if self.size:
            return self.size, self.size
        if not self.resize:
            return height, width
        short, long = min(height, width), max(height, width)
        other = int(self.resize * long / short)
        return (self.resize, other) if height <= width else (other, self.resize)

    def _corner(self, height: int, width: int) -> tuple[int, int]:
        if self.crop > min(height, width):
            raise DataError(
                f"an image of {width}×{height} pixels is smaller than data.crop = {self.crop}; set data.resize"
            )
        return round((height - self.crop) / 2), round((width - self.crop) / 2)
