"""Masks on a kernel that black out a checkerwork of 2×2 tiles of the image.

A tile is a set S of the four parity classes of pixels, (row mod 2, column mod 2). A convolution of even stride, with
``p`` zeros before the image and dilation ``d``, reads with tap (r, c) only pixels of the class

    ((r·d − p) mod 2, (c·d − p) mod 2),

so blacking out the pixels outside S and masking the taps outside S are the same. Which pixels a mask drops flips with
the padding; the set of masks does not. A mask is written as its taps, rows top-down and bits left to right
(``101000101``), where the kernel is 3×3; for other kernels as its tile, classes (0,0) (0,1) (1,0) (1,1) (``1001``).

Source: Gabbasov et al., "Coordinated optimization of neural network parameters for a given set of images".
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

Pair = tuple[int, int]
Tile = frozenset[Pair]

CLASSES: tuple[Pair, ...] = ((0, 0), (0, 1), (1, 0), (1, 1))
REFERENCE = "111111111"
"""The mask that drops nothing."""
DOCUMENT_MASKS = (
    "010111010", "111101111", "101111101", "111010111",  # one pixel in four dropped
    "101010101", "010101010",  # the two diagonal ones
    "101000101", "000010000", "010000010", "000101000",  # three in four
)  # fmt: skip

_DIAGONALS = (frozenset({(0, 0), (1, 1)}), frozenset({(0, 1), (1, 0)}))


def tiles(*, stripes: bool = False) -> list[Tile]:
    """The proper sets of classes, smallest first; the four of whole rows or columns with ``stripes`` only."""
    sets = [frozenset(chosen) for size in (1, 2, 3) for chosen in itertools.combinations(CLASSES, size)]
    return [tile for tile in sets if stripes or len(tile) != 2 or tile in _DIAGONALS]


def tap_mask(tile: Tile, kernel: Pair, padding: Pair, dilation: Pair = (1, 1)) -> Tensor:
    """Which taps read pixels of the tile: boolean (kh, kw). ``padding``: zeros above and to the left."""
    rows, columns = (
        [(tap * step - before) % 2 for tap in range(size)]
        for size, before, step in zip(kernel, padding, dilation, strict=True)
    )
    return torch.tensor([[(row, column) in tile for column in columns] for row in rows])


def useful_masks(
    kernel: Pair, padding: Pair, dilation: Pair = (1, 1), *, stripes: bool = False
) -> dict[str, tuple[Tile, Tensor]]:
    """By name: tile and mask, of every mask that keeps some taps and drops some; each mask once.

    Stronger tiles come first, and of equal ones the mask that keeps more taps.
    """
    found: list[tuple[Tile, Tensor]] = []
    for tile in tiles(stripes=stripes):
        mask = tap_mask(tile, kernel, padding, dilation)
        if 0 < int(mask.sum()) < mask.numel() and not any(torch.equal(mask, other) for _, other in found):
            found.append((tile, mask))
    found.sort(key=lambda entry: (len(entry[0]), -int(entry[1].sum())))
    return {_name(tile, mask): (tile, mask) for tile, mask in found}


def tile_name(tile: Tile) -> str:
    """``1001``: one bit per class."""
    return "".join(str(int(pixel in tile)) for pixel in CLASSES)


def _name(tile: Tile, mask: Tensor) -> str:
    return "".join(str(int(bit)) for bit in mask.flatten()) if mask.shape == (3, 3) else tile_name(tile)
