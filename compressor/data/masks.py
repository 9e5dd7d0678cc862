"""Images with masks beside them: a folder of each, files of one name belonging together.

    root/images/a.jpg  root/masks/a.png
    root/train/images/a.jpg  root/train/masks/a.png  root/val/…      root/images/train/a.jpg  root/masks/train/a.png  …

The value of a mask's pixel is its class, counted from 0; in a palette image that is the index. 255 says that nobody
knows; where no other value than 0 occurs beside it, it is class 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.data.decoded import Decoded, form_of
from compressor.data.divide import divided
from compressor.data.image_file import Format, read_values
from compressor.data.listing import SPLIT_FOLDERS, folders_in, images_below, stray_notes
from compressor.data.parts import Parts
from compressor.data.pool import Pool
from compressor.data.spec import DataSpec
from compressor.errors import DataError

_IMAGES: Final = ("images", "image", "imgs", "img", "jpegimages")
_MASKS: Final = ("masks", "mask", "segmentationclass", "labels", "annotations", "gt")
IGNORED: Final = 255
"""Target of a pixel of which nobody knows the class."""


@dataclass(frozen=True)
class _Pairs:
    images: Path
    masks: Path


def find_masks(root: Path) -> dict[str, _Pairs]:
    """The folders of images and masks of each split ("" where there are no splits); empty where there are none."""
    pair = _pair_in(root)
    if pair is None:
        inner = {
            SPLIT_FOLDERS[name]: found
            for folder in folders_in(root)
            if (name := folder.name.casefold()) in SPLIT_FOLDERS and (found := _pair_in(folder))
        }
        return inner if "train" in inner else {}
    images, masks = (
        {
            SPLIT_FOLDERS[name]: folder
            for folder in folders_in(part)
            if (name := folder.name.casefold()) in SPLIT_FOLDERS
        }
        for part in (pair.images, pair.masks)
    )
    if "train" in images and "train" in masks:
        return {split: _Pairs(images[split], masks[split]) for split in images if split in masks}
    return {"": pair}


def read_masks(root: Path, spec: DataSpec) -> Parts:
    """The parts of a folder of images and masks. Raises ``DataError``."""
    found = find_masks(root)
    if not found:
        raise DataError(f"{root}: no folder images/ beside a folder masks/, nor such below train/")
    strays: list[Path] = []
    leader = _pool(found.get("train") or found[""], root, form_of(spec), strays)
    train: Pool = leader
    if "test" in found:
        test: Any = partial(_pool, found["test"], root, leader, strays)
    else:
        train, test = divided(leader, spec, str(root), "images")
    validation = _pool(found["validation"], root, leader, strays) if "validation" in found else None
    return Parts(root.resolve().name, str(root), spec.classes, train, validation, test, notes=stray_notes(strays))


class Masked(Decoded):
    """Images with a mask each, ``(H, W)`` of uint8."""

    read_target = torch.empty(0)

    def __init__(self, images: Sequence[Path], masks: Sequence[Path], root: Path, form: Format | Masked) -> None:
        super().__init__(images, None, root, form)
        self._masks = masks
        self._first = form if isinstance(form, Masked) else self
        self._white = False
        """Whether masks are black and white: 255 is class 1."""

    def _all_files(self) -> Sequence[Path]:
        return (*self.files, *self._masks)

    @property
    def key(self) -> str:
        return json.dumps([super().key, self._first._white])

    @property
    def facts(self) -> Mapping[str, str]:
        return {**super().facts, "black and white": str(int(self._first._white))}

    def recall(self, facts: Mapping[str, str]) -> None:
        super().recall(facts)
        if self._first is self:
            self._white = facts["black and white"] == "1"

    def _settle(self, rows: Sequence[int]) -> None:
        super()._settle(rows)
        found: set[int] = set()
        for row in rows:
            found |= set(np.unique(_values(self._masks[row])).tolist())
            if found - {0, IGNORED}:
                return
        self._white = IGNORED in found

    def sample(self, row: int) -> tuple[Tensor, ...]:
        mask = torch.from_numpy(_values(self._masks[row]))
        image, size = self.image(row)
        if (mask.shape[1], mask.shape[0]) != size:
            raise DataError(
                f"{self._masks[row]} is {mask.shape[1]}×{mask.shape[0]} pixels but its image is {size[0]}×{size[1]}"
            )
        if self._first._white:
            mask = (mask > 0).to(torch.uint8)
        geometry = self.form.geometry
        return image, geometry.of_map(mask[None])[0] if geometry else mask


def _values(path: Path) -> NDArray[np.uint8]:
    values = read_values(path)
    if values.ndim != 2:
        raise DataError(f"{path} is in colour; a mask is grey, or has a palette: the value of a pixel is its class")
    if values.max(initial=0) > IGNORED or values.dtype.kind == "f":
        raise DataError(f"{path} holds {values.max():g}; a mask holds classes, whole numbers from 0 to 254")
    return values.astype(np.uint8)


def _pair_in(folder: Path) -> _Pairs | None:
    named = {path.name.casefold(): path for path in folders_in(folder)}
    images = next((named[name] for name in _IMAGES if name in named), None)
    masks = next((named[name] for name in _MASKS if name in named and _has_images(named[name])), None)
    return _Pairs(images, masks) if images and masks else None


def _has_images(folder: Path) -> bool:
    return next(images_below(folder, folder, []), None) is not None


def _pool(pairs: _Pairs, root: Path, form: Format | Masked, strays: list[Path]) -> Masked:
    images = {_stem(path, pairs.images): path for path in images_below(pairs.images, root, strays)}
    masks = {_stem(path, pairs.masks): path for path in images_below(pairs.masks, root, strays)}
    masks = {plain if (plain := stem.removesuffix("_mask")) in images else stem: masks[stem] for stem in masks}
    if not images:
        raise DataError(f"{pairs.images}: no images")
    for stem, path in images.items():
        if stem not in masks:
            raise DataError(f"{path} has no mask of that name in {pairs.masks}")
    for stem, path in masks.items():
        if stem not in images:
            raise DataError(f"{path} is the mask of no image in {pairs.images}")
    return Masked(tuple(images.values()), tuple(masks[stem] for stem in images), root, form)


def _stem(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder).with_suffix(""))
