"""The digits set that ships with the package: 1,797 real images of 8×8 pixels (see embedded/LICENSE-digits.txt)."""

from __future__ import annotations

import io
from functools import cache
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from compressor.data.held import HeldSplit
from compressor.graph.leaf import Shape

CLASSES = tuple(str(digit) for digit in range(10))
ABOUT = "embedded in the package (UCI optical digits, 1,797 images of 8×8)"
_TEST = 297
"""The last images come from other writers than most of the first, so they make the harder, honest test split."""


def read_digits(split: str) -> HeldSplit:
    """``train`` (1,500 images) or ``test`` (297), uint8 ``(N, 1, 8, 8)``."""
    images, labels = _arrays()
    part = slice(None, -_TEST) if split == "train" else slice(-_TEST, None)
    return HeldSplit(images[part].clone(), labels[part].clone())


def read_stand_in(split: str, shape: Shape) -> HeldSplit:
    """The digits enlarged by the largest whole factor that fits ``(C, H, W)``, black around, channels repeated."""
    digits = read_digits(split)
    channels, height, width = shape
    factor = max(min(height, width) // 8, 1)
    enlarged = F.interpolate(digits.images.float(), scale_factor=factor, mode="bilinear", align_corners=False)
    spare_rows, spare_columns = height - enlarged.shape[2], width - enlarged.shape[3]
    padding = (spare_columns // 2, spare_columns - spare_columns // 2, spare_rows // 2, spare_rows - spare_rows // 2)
    padded = F.pad(enlarged, padding).round().to(torch.uint8)
    return HeldSplit(padded.repeat(1, channels, 1, 1), digits.targets())


@cache
def _arrays() -> tuple[Tensor, Tensor]:
    content = (files("compressor.data") / "embedded" / "digits.npz").read_bytes()
    with np.load(io.BytesIO(content)) as archive:
        grey = np.rint(archive["images"].astype(np.float64) * (255 / 16)).astype(np.uint8)
        labels = archive["labels"].astype(np.int64)
    return torch.from_numpy(grey).unsqueeze(1), torch.from_numpy(labels)
