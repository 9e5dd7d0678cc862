"""Folders of images, one subfolder per class (the ImageFolder layout of torchvision, and that of Caltech-256).

The class folders stand directly in the root, or under ``train`` with ``val`` and ``test`` beside it. What is missing is
drawn from the rest: the test split once and for all, the validation split by seed.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from compressor.data.decoded import Decoded, form_of
from compressor.data.divide import divided
from compressor.data.image_file import Format
from compressor.data.listing import Listing, class_names, layout_of, listing_of, stray_notes
from compressor.data.parts import Parts
from compressor.data.pool import Pool
from compressor.data.spec import DataSpec


def read_class_folders(root: Path, spec: DataSpec) -> Parts:
    """The parts of a folder of class folders. Raises ``DataError``."""
    layout = layout_of(root)
    classes = class_names(layout.train, spec.classes)
    train = listing_of(layout.train, classes, every_class=True)
    notes = stray_notes(train.strays)
    images = _pool(train, root, form_of(spec))
    remaining: Pool = images
    test: Any
    if layout.test is None:
        remaining, test = divided(images, spec, str(root), "images")
    else:
        test = partial(_pool, listing_of(layout.test, classes), root, images)
    return Parts(
        name=root.resolve().name,
        source=str(root),
        classes=classes,
        train=remaining,
        validation=_pool(listing_of(layout.validation, classes), root, images) if layout.validation else None,
        test=test,
        notes=notes,
    )


def _pool(listing: Listing, root: Path, form: Format | Decoded) -> Decoded:
    return Decoded(listing.files, torch.tensor(listing.labels, dtype=torch.int64), root, form)
