"""What a loaded data set is: three splits, the test split sealed, one normalisation for all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from compressor.data.split import BatchInputs, Pair, Split
from compressor.errors import DataError
from compressor.graph import nested
from compressor.graph.leaf import Shape
from compressor.graph.normalisation import Normalisation
from compressor.task import Task, usual_task

__all__ = ["Data", "Split", "check_alike", "unit_scale"]


@dataclass(eq=False)
class Data:
    """One data set, ready for training.

    Invariants: the three splits are disjoint; statistics come from ``train`` alone; nothing is measured on the test
    split before ``open_test``, and every opening is recorded.
    """

    name: str
    source: str
    """Where the samples came from, for people: a file, a folder, a package, an address."""
    train: Split
    validation: Split
    classes: tuple[str, ...]
    """Their names, where the targets are class indices; empty where there are no classes."""
    mean: tuple[float, ...]
    """Per channel of the first input, in the unit of the normalised image: 0…1 where the images are uint8."""
    std: tuple[float, ...]
    test: Callable[[], Split] = field(repr=False)
    """Reads the test split. Call ``open_test`` instead."""
    task: Task = field(default_factory=usual_task, kw_only=True)
    """What is wanted of a network on these samples."""
    stand_in: bool = False
    """True where another set was loaded in place of the one asked for."""
    seed: int = 0
    settled: bool = True
    """False where nobody said how the images are normalised: mean and deviation are then what a new network is trained
    with."""
    notes: tuple[str, ...] = ()
    """What is worth knowing about the samples: files left out, images that occur twice."""
    input_names: tuple[str, ...] = ()
    """What the source calls its inputs, where it has several."""
    test_opened: list[str] = field(default_factory=list)
    """The purpose of every opening of the test split so far."""

    @property
    def input_shape(self) -> Shape:
        """Of one sample of the first input, such as ``(C, H, W)``."""
        return self.train.shape

    def open_test(self, purpose: str = "final measurement") -> Split:
        """Read the test split, and record that it was read and what for."""
        self.test_opened.append(purpose)
        split = self.test()
        check_alike(self.name, self.train, split, "test")
        return split

    def normalisation(self, origin: str = "") -> Normalisation:
        """How pixels become the network's input, as what is kept with the network."""
        scale = 255.0 if self.train.dtype == torch.uint8 else 1.0
        return Normalisation(tuple(self.mean), tuple(self.std), scale, origin)

    def normalised(self, inputs: BatchInputs) -> BatchInputs:
        """Inputs of any split as the network expects them: float32, on the device they are on."""
        return self.standardised(unit_scale(inputs))

    def standardised(self, inputs: BatchInputs) -> BatchInputs:
        """``(images − mean) / std`` per channel, for images already on the unit scale.

        With several inputs: the first, and each other one that holds whole-number pixels of as many channels.
        """
        if isinstance(inputs, Tensor):
            return self._standardised(inputs, 0)
        return tuple(self._standardised(part, number) for number, part in enumerate(inputs))

    def _standardised(self, images: Tensor, number: int) -> Tensor:
        shape, dtype = self.train.shapes[number], self.train.dtypes[number]
        alike = dtype == torch.uint8 and shape[:1] == self.train.shape[:1]
        if not images.dtype.is_floating_point or not self.mean or (number and not alike):
            return images
        column = (-1, *(1,) * (images.ndim - 2))
        mean = torch.tensor(self.mean, device=images.device).view(column)
        std = torch.tensor(self.std, device=images.device).view(column)
        return (images - mean).div_(std)

    def calibration_batches(self, count: int, batch: int = 128) -> list[Pair]:
        """``count`` training samples (fewer where there are fewer), normalised, always the same ones for one seed."""
        some = self.train.some(count, self.seed)
        return [(self.normalised(inputs), target) for inputs, target in some.batches(batch)]


def unit_scale(inputs: BatchInputs) -> BatchInputs:
    """uint8 0…255 as float32 0…1; everything else as it is."""
    return nested.map_tensors(_unit, inputs)


def _unit(images: Tensor) -> Tensor:
    return images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images


def check_alike(name: str, train: Split, other: Split, kind: str) -> None:
    """Raises ``DataError`` where inputs of another split have not the shape of the training inputs."""
    if other.shapes != train.shapes:
        images = all(len(shape) == 3 for shape in (*train.shapes, *other.shapes))
        raise DataError(
            f"{name}: {kind} images are {_sides(other)}{' (channels × height × width)' if images else ''}, training "
            f"images {_sides(train)}{'; set data.size to bring them to one size' if images else ''}"
        )


def _sides(split: Split) -> str:
    return " and ".join("×".join(map(str, shape)) or "numbers" for shape in split.shapes)
