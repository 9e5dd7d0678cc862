"""What a loaded data set is: three splits, the test split sealed, one normalisation for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from compressor.data.alike import check_alike
from compressor.data.scale import standardised, unit_scale
from compressor.data.split import BatchInputs, Pair, Split
from compressor.graph.leaf import Shape
from compressor.graph.normalisation import Normalisation
from compressor.task import Task, usual_task

__all__ = ["Data", "Split"]


@dataclass(frozen=True, eq=False)
class Data:
    """One data set, ready for training.

    Invariants: the three splits are disjoint; statistics come from ``train`` alone; the test split is read by
    ``open_test`` alone.
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

    @property
    def input_shape(self) -> Shape:
        """Of one sample of the first input, such as ``(C, H, W)``."""
        return self.train.shape

    def open_test(self) -> Split:
        """Read the test split. Raises ``DataError`` where it does not go with the training split."""
        split = self.test()
        check_alike(self.name, self.train, split, "test")
        return split

    def normalisation(self, origin: str = "") -> Normalisation:
        """How pixels become the network's input, as what is kept with the network."""
        scale = 255.0 if self.train.dtype == torch.uint8 else 1.0
        return Normalisation(tuple(self.mean), tuple(self.std), scale, origin)

    def normalised(self, inputs: BatchInputs) -> BatchInputs:
        """Inputs of any split, as they are or on the unit scale already, as the network expects them, on their device:
        ``(images − mean) / std`` per channel.

        Of several inputs: the first, and each other one that holds whole-number pixels of as many channels.
        """
        if isinstance(inputs, Tensor):
            return standardised(unit_scale(inputs), self.mean, self.std)
        return tuple(
            standardised(unit_scale(part), self.mean, self.std) if alike else unit_scale(part)
            for part, alike in zip(inputs, self._like_the_first, strict=True)
        )

    @property
    def _like_the_first(self) -> Iterator[bool]:
        for number, (shape, dtype) in enumerate(zip(self.train.shapes, self.train.dtypes, strict=True)):
            yield number == 0 or (dtype == torch.uint8 and shape[:1] == self.train.shape[:1])

    def calibration_batches(self, count: int, batch: int = 128) -> list[Pair]:
        """``count`` training samples (fewer where there are fewer), normalised, always the same ones for one seed."""
        some = self.train.some(count, self.seed)
        return [(self.normalised(inputs), target) for inputs, target in some.batches(batch)]
