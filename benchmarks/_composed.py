"""Data for tasks, composed from real, scanned digits (UCI), several on a canvas.

Nothing here is a benchmark of its task in the world; it shows that the toolkit does what the task asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from compressor.data.load import load_data
from compressor.data.spec import DataSpec

CELL, CELLS = 8, 3
SIDE = CELL * CELLS
"""Pixels of a canvas: nine cells, of which some hold a digit."""


@dataclass(frozen=True)
class Canvases:
    """``images`` (N, 1, 24, 24) in 0…1; for every cell the digit in it, −1 for none, and where it lies."""

    images: Tensor
    digits: Tensor
    corners: Tensor
    """(N, 9, 2): top and left of each cell's digit."""


def canvases(split: str, count: int, seed: int = 0) -> Canvases:
    """``count`` canvases from the digits of one split; the three splits share no digit."""
    data = load_data(DataSpec(name="digits"))
    part = {"train": data.train, "validation": data.validation, "test": data.open_test()}[split]
    scans, labels = part.images.float() / 255, part.targets()
    generator = torch.Generator().manual_seed(1000 * seed + len(split))
    images, digits = torch.zeros(count, 1, SIDE, SIDE), torch.full((count, CELLS**2), -1)
    corners = torch.zeros(count, CELLS**2, 2)
    for number in range(count):
        for cell in torch.randperm(CELLS**2, generator=generator)[
            : int(torch.randint(1, 5, (1,), generator=generator))
        ]:
            chosen = int(torch.randint(len(scans), (1,), generator=generator))
            shift = torch.randint(-1, 2, (2,), generator=generator)
            place = torch.tensor([int(cell) // CELLS, int(cell) % CELLS]) * CELL + shift
            top, left = place.clamp(0, SIDE - CELL).tolist()
            here = images[number, 0, top : top + CELL, left : left + CELL]
            torch.maximum(here, scans[chosen, 0], out=here)
            digits[number, cell], corners[number, cell] = labels[chosen], torch.tensor([top, left])
    return Canvases(images, digits, corners)


def masks(made: Canvases) -> Tensor:
    """The class of every pixel: 0 for none, else the digit it belongs to and one."""
    found = torch.zeros(len(made.images), SIDE, SIDE, dtype=torch.int64)
    for number, row in enumerate(made.digits):
        for cell in (row >= 0).nonzero().flatten().tolist():
            top, left = map(int, made.corners[number, cell])
            part = slice(top, top + CELL), slice(left, left + CELL)
            ink = made.images[number, 0][part] > 0.3
            found[number][part] = torch.where(ink, int(row[cell]) + 1, found[number][part])
    return found


def counts(made: Canvases) -> Tensor:
    """How many digits there are, and their sum: two numbers."""
    there = made.digits >= 0
    return torch.stack([there.sum(1).float(), made.digits.clamp_min(0).sum(1).float()], dim=1)


def present(made: Canvases) -> Tensor:
    """Which of the ten digits are on the canvas."""
    return torch.stack([(made.digits == digit).any(1).long() for digit in range(10)], dim=1)


class Boxed(Dataset[Any]):
    """A canvas and its boxes, as detection takes them."""

    def __init__(self, made: Canvases) -> None:
        self.made = made

    def __len__(self) -> int:
        return len(self.made.images)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        there = self.made.digits[index] >= 0
        top_left = self.made.corners[index][there]
        boxes = torch.cat([top_left.flip(1), top_left.flip(1) + CELL], dim=1)
        return self.made.images[index], {"boxes": boxes, "labels": self.made.digits[index][there]}


def side_by_side(samples: list[tuple[Tensor, dict[str, Tensor]]]) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """A batch: images stacked, boxes in a list."""
    return torch.stack([image for image, _ in samples]), [boxes for _, boxes in samples]


def decode(outputs: Tensor) -> list[dict[str, Tensor]]:
    """Boxes from a grid ``(N, 13, 3, 3)``: is there one, how far it is shifted, which digit."""
    found = []
    for grid in outputs.flatten(2):
        score = grid[0].sigmoid()
        kept = (score > 0.05).nonzero().flatten()
        cells = torch.stack([kept % CELLS, kept // CELLS], dim=1) * CELL
        corner = cells + grid[1:3, kept].T.flip(1)
        label = grid[3:, kept].softmax(0).max(0)
        found.append(
            {"boxes": torch.cat([corner, corner + CELL], 1), "scores": score[kept] * label[0], "labels": label[1]}
        )
    return found


def criterion(outputs: Tensor, target: list[dict[str, Tensor]]) -> Tensor:
    """Is there one (binary cross entropy), where (squared pixels) and which (cross entropy), over the grid's cells."""
    wanted, shift = torch.full((len(target), CELLS**2), -1), torch.zeros(len(target), CELLS**2, 2)
    for number, image in enumerate(target):
        corner = image["boxes"][:, :2].flip(1)
        cell = ((corner + CELL / 2) // CELL).long().clamp(0, CELLS - 1)
        index = cell[:, 0] * CELLS + cell[:, 1]
        wanted[number, index], shift[number, index] = image["labels"], corner - cell * CELL
    grid, there = outputs.flatten(2), wanted >= 0
    loss = torch.nn.functional.binary_cross_entropy_with_logits(grid[:, 0], there.float())
    if there.any():
        loss = loss + 0.05 * (grid[:, 1:3].movedim(1, 2)[there] - shift[there]).square().mean()
        loss = loss + torch.nn.functional.cross_entropy(grid[:, 3:].movedim(1, 2)[there], wanted[there])
    return loss


def tensors(target: Callable[[Canvases], Tensor]) -> Callable[[Canvases], Any]:
    """A data set of canvases with one tensor each to be learned."""
    return lambda made: TensorDataset(made.images, target(made))


def boxed(made: Canvases) -> Any:
    """A loader of canvases with their boxes."""
    return DataLoader(Boxed(made), batch_size=64, collate_fn=side_by_side)
