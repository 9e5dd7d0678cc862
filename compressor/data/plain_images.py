"""A folder of images of which nothing else is known: there is nothing to learn but the network's own answers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from compressor.data.decoded import Decoded, form_of
from compressor.data.divide import divided
from compressor.data.image_file import FORMATS, Format
from compressor.data.listing import SPLIT_FOLDERS, folders_in, images_below, stray_notes
from compressor.data.parts import Parts
from compressor.data.pool import Pool
from compressor.data.spec import DataSpec
from compressor.errors import DataError


def read_plain_images(root: Path, spec: DataSpec) -> Parts:
    """Every image anywhere below ``root``, or below ``train``, ``val`` and ``test`` in it. Raises ``DataError``."""
    strays: list[Path] = []
    splits = {SPLIT_FOLDERS[name]: path for path in folders_in(root) if (name := path.name.casefold()) in SPLIT_FOLDERS}
    if "train" not in splits:
        splits = {"train": root}
    form = form_of(spec)
    images = _pool(splits["train"], root, form, strays)
    train: Pool = images
    if "test" in splits:
        test: Any = partial(_pool, splits["test"], root, images, strays)
    else:
        train, test = divided(images, spec, str(root), "images")
    validation = _pool(splits["validation"], root, images, strays) if "validation" in splits else None
    name = root.resolve().name
    return Parts(name, str(root), (), train, validation, test, notes=stray_notes(strays))


def _pool(folder: Path, root: Path, form: Format | Decoded, strays: list[Path]) -> Decoded:
    files = tuple(images_below(folder, root, strays))
    if not files:
        raise DataError(f"{folder}: no images ({', '.join(FORMATS)})")
    return Decoded(files, None, root, form)
