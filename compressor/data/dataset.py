"""What a loaded data set is: splits in memory, the test split sealed, one normalisation for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from compressor.data.mapped import Touched
from compressor.errors import DataError
from compressor.evidence import Batch
from compressor.graph.leaf import Shape
from compressor.graph.normalisation import Normalisation


@dataclass(frozen=True, eq=False)
class Split:
    """Samples of a set in their order: images ``(N, C, H, W)``, uint8 (0…255) or float32, and labels ``(N,)``, int64.

    The images lie in ``store``, in memory or in a mapped file, which several splits may share; ``rows`` says which of
    them are meant. ``read`` and ``batches`` copy only what is asked for.
    """

    store: Tensor
    labels: Tensor
    rows: Tensor | None = None
    """Indices into ``store``, one per label; None for all of it as it lies."""
    touched: Touched | None = field(default=None, repr=False)
    """Told of every reading where ``store`` lies in a mapped file."""

    def __post_init__(self) -> None:
        if self.store.ndim != 4 or self.store.dtype not in (torch.uint8, torch.float32):
            raise DataError(f"images must be (N, C, H, W) of uint8 or float32, not {_brief(self.store)}")
        if self.labels.ndim != 1 or self.labels.dtype != torch.int64:
            raise DataError(f"labels must be (N,) of int64, not {_brief(self.labels)}")
        count = len(self.store) if self.rows is None else len(self.rows)
        if count != len(self.labels):
            raise DataError(f"{count} images but {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> Shape:
        """``(C, H, W)`` of one image."""
        return tuple(self.store.shape[1:])

    @property
    def nbytes(self) -> int:
        """Of all images."""
        return len(self) * self.store[:1].nbytes

    @property
    def images(self) -> Tensor:
        """All images at once. A large set does not fit in memory: there, use ``read`` or ``batches``."""
        return self.store if self.rows is None else self.store[self.rows]

    def take(self, indices: Tensor) -> Split:
        """The samples at ``indices``, in that order; no image is copied."""
        rows = indices if self.rows is None else self.rows[indices]
        return replace(self, labels=self.labels[indices], rows=rows)

    def joined(self, other: Split) -> Split:
        """The samples of both; the images are copied only where they lie in different stores."""
        labels = torch.cat([self.labels, other.labels])
        if self.store is not other.store:
            return Split(torch.cat([self.images, other.images]), labels)
        rows = [torch.arange(len(part)) if part.rows is None else part.rows for part in (self, other)]
        return replace(self, labels=labels, rows=torch.cat(rows))

    def read(self, indices: Tensor) -> Tensor:
        """The images at ``indices``, copied."""
        images = self.store[indices if self.rows is None else self.rows[indices]]
        if self.touched is not None:
            self.touched(images.nbytes, len(images))
        return images

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """``(images, labels)``, ``size`` at a time (the last of them fewer), in order. The images may be views."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            images = self.store[part if self.rows is None else self.rows[part]]
            yield images, self.labels[part]
            if self.touched is not None:
                self.touched(images.nbytes, 1 if self.rows is None else len(images))


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
    notes: tuple[str, ...] = ()
    """What is worth knowing about the samples: files left out, images that occur twice."""
    test_opened: list[str] = field(default_factory=list)
    """The purpose of every opening of the test split so far."""

    @property
    def input_shape(self) -> Shape:
        """``(C, H, W)`` of one sample."""
        return self.train.shape

    def open_test(self, purpose: str = "final measurement") -> Split:
        """Read the test split, and record that it was read and what for."""
        self.test_opened.append(purpose)
        split = self.test()
        check_alike(self.name, self.train, split, "test")
        return split

    def normalisation(self, origin: str = "") -> Normalisation:
        """How pixels become the network's input, as what is kept with the network."""
        scale = 255.0 if self.train.store.dtype == torch.uint8 else 1.0
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
        parts = torch.split(chosen, batch)
        return [(self.normalised(self.train.read(part)), self.train.labels[part]) for part in parts]


def unit_scale(images: Tensor) -> Tensor:
    """uint8 0…255 as float32 0…1; float32 as it is."""
    return images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images


def check_alike(name: str, train: Split, other: Split, kind: str) -> None:
    """Raises ``DataError`` where images of another split have not the shape of the training images."""
    if other.shape != train.shape:
        raise DataError(
            f"{name}: {kind} images are {_sides(other)} (channels × height × width), training images {_sides(train)}; "
            "set data.size to bring them to one size"
        )


def _sides(split: Split) -> str:
    return "×".join(map(str, split.shape))


def _brief(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}"
