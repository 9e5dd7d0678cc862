"""How an image is brought to the size a network takes: as its owner did it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from compressor.errors import DataError

Interpolation = Literal["bilinear", "bicubic"]


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
            kind = Image.Resampling.BICUBIC if self.interpolation == "bicubic" else Image.Resampling.BILINEAR
            image = image.resize((wanted[1], wanted[0]), kind)
        if self.crop:
            top, left = self._corner(*wanted)
            image = image.crop((left, top, left + self.crop, top + self.crop))
        return image

    def of_tensor(self, images: Tensor) -> Tensor:
        """The same for a batch ``(N, C, H, W)``, uint8 or float32."""
        height, width = images.shape[2:]
        wanted = self._sides(height, width)
        if wanted != (height, width):
            smooth = F.interpolate(images.float(), size=wanted, mode=self.interpolation, antialias=True)
            images = smooth.round_().clamp_(0, 255).to(torch.uint8) if images.dtype == torch.uint8 else smooth
        if self.crop:
            top, left = self._corner(*wanted)
            images = images[:, :, top : top + self.crop, left : left + self.crop]
        return images

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
