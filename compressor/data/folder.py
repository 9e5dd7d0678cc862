"""Folders of images, one subfolder per class (the ImageFolder layout of torchvision, and that of Caltech-256).

The class folders stand directly in the root, or under ``train`` with ``val`` and ``test`` beside it. What is missing is
drawn from the rest: the test split once and for all, the validation split by seed. A folder with the four IDX files of
MNIST's format is read as such.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from compressor.data.decoded import Decoded
from compressor.data.divide import divided
from compressor.data.idx import IDX_FILES, find_idx, read_idx_split
from compressor.data.image_file import Format
from compressor.data.listing import Listing, class_names, layout_of, listing_of
from compressor.data.parts import Parts
from compressor.data.pool import Held, Pool
from compressor.data.spec import DataSpec
from compressor.errors import DataError


def read_folder(spec: DataSpec) -> Parts:
    """The parts of the folder ``spec.folder``. Raises ``DataError``."""
    root = Path(spec.folder).expanduser()
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    if find_idx(root, IDX_FILES["train"][0]) is not None:
        return _read_idx_folder(root)
    layout = layout_of(root)
    classes = class_names(layout.train, spec.classes)
    train = listing_of(layout.train, classes, every_class=True)
    notes = _notes(train)
    images = _pool(train, root, form_of(spec))
    remaining: Pool = images
    if layout.test is None:
        remaining, test = divided(images, spec, str(root), "images")
    else:
        listing = listing_of(layout.test, classes)
        test = partial(_pool, listing, root, images)
    return Parts(
        name=root.resolve().name,
        source=str(root),
        classes=classes,
        train=remaining,
        validation=_pool(listing_of(layout.validation, classes), root, images) if layout.validation else None,
        test=test,
        notes=notes,
    )


def form_of(spec: DataSpec) -> Format:
    """What every image of a set becomes."""
    return Format(0, spec.channels, spec.white, spec.background, spec.geometry)


def _pool(listing: Listing, root: Path, form: Format | Decoded) -> Decoded:
    return Decoded(listing.files, torch.tensor(listing.labels, dtype=torch.int64), root, form)


def _read_idx_folder(root: Path) -> Parts:
    train = Held(read_idx_split(root, "train"), f"{root}: the training files")
    return Parts(root.resolve().name, str(root), (), train, None, partial(_idx_test, root))


def _idx_test(root: Path) -> Pool:
    return Held(read_idx_split(root, "test"), f"{root}: the test files")


def _notes(listing: Listing) -> tuple[str, ...]:
    if not listing.strays:
        return ()
    what = "files that are no samples" if len(listing.strays) > 1 else "file that is no sample"
    return (f"{len(listing.strays)} {what} left out, {listing.strays[0]} first",)
