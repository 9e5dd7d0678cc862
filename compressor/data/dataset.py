"""What a loaded data set is: splits in memory, the test split sealed, one normalisation for all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from compressor.errors import DataError
from compressor.evidence import Batch
from compressor.graph.leaf import Shape
from compressor.graph.normalisation import Normalisation


@dataclass(frozen=True, eq=False)
class Split:
    """``images`` ``(N, C, H, W)``, uint8 (0…255) or float32, and ``labels`` ``(N,)``, int64, in the same order."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype not in (torch.uint8, torch.float32):
            raise DataError(f"images must be (N, C, H, W) of uint8 or float32, not {_brief(self.images)}")
        if self.labels.ndim != 1 or self.labels.dtype != torch.int64:
            raise DataError(f"labels must be (N,) of int64, not {_brief(self.labels)}")
        if len(self.images) != len(self.labels):
            raise DataError(f"{len(self.images)} images but {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> Split:
        """The samples at ``indices``, in that order, copied."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(eq=False)
class Data:
    """One data set, ready for training.

    Invariants: the three splits are disjoint; statistics come from ``train`` alone; the test split is not in memory
    before ``open_test``, and every opening is recorded.
    """

    name: str
    source: str
    """Where the samples came from, for people: a file, a folder, a package, an address."""
    train: Split
    validation: Split
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    """Per channel, in the unit of the normalised image: 0…1 where the images are uint8."""
    std: tuple[float, ...]
    test: Callable[[], Split] = field(repr=False)
    """Reads the test split. Call ``open_test`` instead."""
    stand_in: bool = False
    """True where another set was loaded in place of the one asked for."""
    seed: int = 0
    settled: bool = True
    """False where nobody said how the images are normalised: mean and deviation are then what a new network is trained
    with."""
    test_opened: list[str] = field(default_factory=list)
    """The purpose of every opening of the test split so far."""

    @property
    def input_shape(self) -> Shape:
        """``(C, H, W)`` of one sample."""
        return tuple(self.train.images.shape[1:])

    def open_test(self, purpose: str = "final measurement") -> Split:
        """Read the test split, and record that it was read and what for."""
        self.test_opened.append(purpose)
        split = self.test()
        if tuple(split.images.shape[1:]) != self.input_shape:
            raise DataError(
                f"{self.name}: test images are {tuple(split.images.shape[1:])}, training images {self.input_shape}; "
                "set data.size to bring them to one size"
            )
        return split

    def normalisation(self, origin: str = "") -> Normalisation:
        """How pixels become the network's input, as what is kept with the network."""
        scale = 255.0 if self.train.images.dtype == torch.uint8 else 1.0
        return Normalisation(tuple(self.mean), tuple(self.std), scale, origin)

    def normalised(self, images: Tensor) -> Tensor:
        """Images of any split as the network expects them: float32 ``(N, C, H, W)``, on the device they are on."""
        return self.standardised(unit_scale(images))

    def standardised(self, images: Tensor) -> Tensor:
        """``(images − mean) / std`` per channel, for images already on the unit scale."""
        mean = torch.tensor(self.mean, device=images.device).view(-1, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(-1, 1, 1)
        return (images - mean).div_(std)

    def calibration_batches(self, count: int, batch: int = 128) -> list[Batch]:
        """``count`` training samples (fewer where there are fewer), normalised, always the same ones for one seed."""
        generator = torch.Generator().manual_seed(self.seed)
        chosen = torch.randperm(len(self.train), generator=generator)[:count]
        parts = [self.train.take(part) for part in torch.split(chosen, batch)]
        return [(self.normalised(part.images), part.labels) for part in parts]


def unit_scale(images: Tensor) -> Tensor:
    """uint8 0…255 as float32 0…1; float32 as it is."""
    return images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images


def _brief(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}"
