"""Ten ways to replace pixels in every 2×2 cell of an image.

    DN nothing    MH one in four    CHB two, on a diagonal    GRI three

and what comes in their place: the image's own mean per channel (no suffix), black (0), white (1). All work on the raw
image: after a normalisation by mean and standard deviation a zero is no longer black.

``phase`` is the pixel of the cell that every tiling keeps, 2·row + column. MH drops the one beside it, CHB also the one
below or above it, GRI all but the phase: each drops what the one before it drops.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

TilingName = Literal["DN", "MH", "CHB", "GRI", "MH0", "CHB0", "GRI0", "MH1", "CHB1", "GRI1"]
Fill = Literal["mean", "black", "white"]

NAMES: tuple[TilingName, ...] = get_args(TilingName)
REFERENCE: TilingName = "DN"

_DROPPED = {"DN": 0.0, "MH": 0.25, "CHB": 0.5, "GRI": 0.75}
_FILLS: dict[str, Fill] = {"": "mean", "0": "black", "1": "white"}


@dataclass(frozen=True)
class Tiling:
    """``dropped``: share of the pixels that are replaced."""

    name: TilingName
    dropped: float
    fill: Fill

    @staticmethod
    def of(name: TilingName) -> Tiling:
        pattern = name.rstrip("01")
        return Tiling(name, _DROPPED[pattern], _FILLS[name.removeprefix(pattern)])


def kept(tiling: Tiling, phase: int) -> Tensor:
    """Which pixels of a 2×2 cell stay: boolean (2, 2)."""
    row, column = divmod(phase, 2)
    stays = torch.ones(2, 2, dtype=torch.bool)
    order = [(row, 1 - column), (1 - row, column), (1 - row, 1 - column)]
    for gone in order[: round(4 * tiling.dropped)]:
        stays[gone] = False
    return stays


def tile(images: Tensor, tiling: Tiling, phase: int = 0) -> Tensor:
    """Raw images ``(N, C, H, W)``, uint8 (0…255) or float32 (0…1), with pixels replaced; the argument is left alone."""
    if tiling.dropped == 0:
        return images
    height, width = images.shape[2:]
    cells = kept(tiling, phase).repeat((height + 1) // 2, (width + 1) // 2)[:height, :width].to(images.device)
    return torch.where(cells, images, _filling(images, tiling.fill))


def _filling(images: Tensor, fill: Fill) -> Tensor:
    """What replaces a pixel, ``(N or 1, C or 1, 1, 1)``, of the type of the images."""
    whole = images.dtype == torch.uint8
    if fill == "mean":
        mean = images.float().mean(dim=(2, 3), keepdim=True)
        return mean.round().to(torch.uint8) if whole else mean
    white = 255 if whole else 1
    return torch.full((1, 1, 1, 1), white if fill == "white" else 0, dtype=images.dtype, device=images.device)
