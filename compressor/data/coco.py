"""Boxes in COCO's format: a JSON file of images, annotations and categories beside the images.

    root/annotations/instances_train.json  root/train/1.jpg …
    root/train/_annotations.coco.json      root/train/1.jpg …
    root/annotations.json                  root/images/1.jpg …

A target is ``{"boxes": (k, 4) float32, "labels": (k,) int64}`` for each image: left, top, right, bottom in pixels of
the image as the network gets it, and categories counted from 0 in the order of their ids, or of ``data.classes``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from compressor.data.decoded import Decoded, form_of
from compressor.data.divide import divided
from compressor.data.image_file import Format
from compressor.data.listing import SPLIT_FOLDERS, folders_in, visible
from compressor.data.parts import Parts
from compressor.data.pool import Pool
from compressor.data.spec import DataSpec
from compressor.errors import DataError, did_you_mean
from compressor.files import require_regular

_NAMES: Final = ("_annotations.coco.json", "annotations.json", "instances.json", "coco.json")
_LEAST: Final = 1e-3
"""Pixels of width and height below which a box is none."""
BoxTarget = dict[str, Tensor]


@dataclass(frozen=True)
class _Set:
    """What a file says: image files with their sizes (width, height) and their boxes, and the categories by id."""

    where: Path
    files: tuple[Path, ...]
    sizes: tuple[tuple[int, int], ...]
    boxes: tuple[Tensor, ...]
    """``(k, 4)`` each, left, top, right, bottom in pixels of the file."""
    categories: tuple[tuple[int, ...], ...]
    names: Mapping[int, str]
    left_out: int
    """Annotations of crowds, or without an area."""


def find_annotations(root: Path) -> dict[str, Path]:
    """The file of each split ("" where there are no splits); empty where there is none."""
    below = root / "annotations"
    if below.is_dir():
        files = [path for path in visible(below) if path.suffix == ".json"]
        files = [path for path in files if path.name.startswith("instances")] or files
        named = {split: path for path in files for word, split in SPLIT_FOLDERS.items() if word in path.stem.lower()}
        if "train" in named:
            return named
        if len(files) == 1:
            return {"": files[0]}
    inner = {
        SPLIT_FOLDERS[name]: found
        for folder in folders_in(root)
        if (name := folder.name.casefold()) in SPLIT_FOLDERS and (found := _annotations_in(folder))
    }
    if "train" in inner:
        return inner
    alone = _annotations_in(root)
    return {"": alone} if alone else {}


def read_boxes(root: Path, spec: DataSpec) -> Parts:
    """The parts of a folder with COCO's annotations. Raises ``DataError``."""
    found = find_annotations(root)
    if not found:
        raise DataError(f"{root}: no annotations/instances_train.json, nor train/_annotations.coco.json, nor the like")
    first = _read(found.get("train") or found[""], root)
    order = _order(first, spec.classes)
    leader = Boxed(first, order, root, form_of(spec))
    train: Pool = leader

    def pool(split: str) -> Boxed:
        return Boxed(_read(found[split], root), order, root, leader)

    if "test" in found:
        test: Any = partial(pool, "test")
    else:
        train, test = divided(leader, spec, str(root), "images")
    notes: tuple[str, ...] = ()
    if first.left_out:
        said = "annotations of the training images that are crowds or have no area"
        notes = (f"left out: {first.left_out} {said}",)
    classes = spec.classes or tuple(first.names[number] for number in sorted(first.names))
    validation = pool("validation") if "validation" in found else None
    return Parts(root.resolve().name, str(root), classes, train, validation, test, notes=notes)


class Boxed(Decoded):
    """Images with boxes, whose size is as the annotations state it."""

    def __init__(self, found: _Set, order: Mapping[int, int], root: Path, form: Format | Boxed) -> None:
        self._sizes = found.sizes
        geometry = form.geometry if isinstance(form, Format) else form.form.geometry
        targets = []
        for boxes, categories, (width, height) in zip(found.boxes, found.categories, found.sizes, strict=True):
            for category in categories:
                if category not in order:
                    raise DataError(f"{found.where}: category {category} is not among those of the training images")
            placed = geometry.of_boxes(boxes, height, width) if geometry else boxes
            kept = (placed[:, 2:] - placed[:, :2] > _LEAST).all(1)
            labels = torch.tensor([order[category] for category in categories], dtype=torch.int64)
            targets.append({"boxes": placed[kept], "labels": labels[kept]})
        super().__init__(found.files, targets, root, form)

    def sample(self, row: int) -> tuple[Tensor, ...]:
        image, size = self.image(row)
        if size != self._sizes[row]:
            stated, found = ("×".join(map(str, sides)) for sides in (self._sizes[row], size))
            raise DataError(f"{self.files[row]} is {found} pixels, but its annotations are for {stated}")
        return (image,)


def _order(found: _Set, wanted: tuple[str, ...]) -> dict[int, int]:
    """Category id to class index."""
    if not wanted:
        return {number: index for index, number in enumerate(sorted(found.names))}
    for name in found.names.values():
        if name not in wanted:
            raise DataError(f"data.classes: {found.where} has a category {name!r}{did_you_mean(name, wanted)}")
    return {number: wanted.index(name) for number, name in found.names.items()}


def _read(path: Path, root: Path) -> _Set:
    require_regular(path, DataError)
    try:
        content: Any = json.loads(path.read_bytes())
        images = {int(entry["id"]): entry for entry in content["images"]}
        names = {int(entry["id"]): str(entry["name"]) for entry in content["categories"]}
        by_image: dict[int, list[Any]] = defaultdict(list)
        left_out = 0
        for entry in content["annotations"]:
            left, top, width, height = (float(value) for value in entry["bbox"])
            if entry.get("iscrowd") or not (width > 0 and height > 0):
                left_out += 1
                continue
            corners = [left, top, left + width, top + height]
            by_image[int(entry["image_id"])].append((corners, int(entry["category_id"])))
        sizes = tuple((int(entry["width"]), int(entry["height"])) for entry in images.values())
        files = _files(path, root, [str(entry["file_name"]) for entry in images.values()])
    except DataError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise DataError(f"{path} is no file of COCO's annotations ({reason})") from None
    unknown = by_image.keys() - images.keys()
    if unknown:
        raise DataError(f"{path}: an annotation is for image {min(unknown)}, which is not listed")
    boxes = tuple(
        torch.tensor([box for box, _ in by_image[number]], dtype=torch.float32).view(-1, 4) for number in images
    )
    categories = tuple(tuple(category for _, category in by_image[number]) for number in images)
    return _Set(path, files, sizes, boxes, categories, names, left_out)


def _files(path: Path, root: Path, names: Sequence[str]) -> tuple[Path, ...]:
    """Where the images are: beside the file, or in a folder that is called like its split, or in ``images``."""
    if not names:
        raise DataError(f"{path}: no images")
    words = [folder for folder in folders_in(root) if folder.name.lower() in path.stem.lower()]
    homes = [path.parent, *words, root / "images", *(root / "images" / folder.name for folder in words), root]
    if (root / "images").is_dir():
        homes += [folder for folder in folders_in(root / "images") if folder.name.lower() in path.stem.lower()]
    home = next((home for home in homes if (home / names[0]).is_file()), None)
    if home is None:
        raise DataError(f"{path}: {names[0]} is in none of {', '.join(str(home) for home in dict.fromkeys(homes))}")
    files = tuple(home / name for name in names)
    for file in files:
        if not file.is_file():
            raise DataError(f"{path}: {file} is not there")
    return files


def _annotations_in(folder: Path) -> Path | None:
    return next((folder / name for name in _NAMES if (folder / name).is_file()), None)
