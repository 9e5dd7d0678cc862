"""Folders of images, one subfolder per class (the ImageFolder layout of torchvision, and that of Caltech-256).

    root/cat/1.jpg                    root/train/cat/1.jpg   root/val/cat/2.jpg   root/test/cat/3.jpg

The class folders stand directly in the root, or under ``train`` with ``val`` and ``test`` beside it. What is missing is
drawn from the rest: the test split once and for all, the validation split by seed. A folder with the four IDX files of
MNIST's format is read as such.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from compressor.data.cache import cache_folder, read_cached, write_cached
from compressor.data.dataset import Split
from compressor.data.idx import IDX_FILES, find_idx, read_idx_split
from compressor.data.parts import TEST_SEED, Parts
from compressor.data.spec import DataSpec
from compressor.data.stratify import sample_count, stratified
from compressor.errors import DataError

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"})
_VALIDATION_NAMES = ("val", "valid", "validation")
_GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "F"})


@dataclass(frozen=True)
class Listing:
    """Image files with their class indices; nothing of them has been read."""

    files: tuple[Path, ...]
    labels: tuple[int, ...]

    def take(self, indices: torch.Tensor) -> Listing:
        chosen = indices.tolist()
        return Listing(tuple(self.files[i] for i in chosen), tuple(self.labels[i] for i in chosen))


@dataclass(frozen=True)
class Format:
    """What every image becomes. ``size`` 0 keeps the size, which then must be the same for all."""

    size: int
    channels: int


def read_folder(spec: DataSpec) -> Parts:
    """The parts of the folder ``spec.folder``. Raises ``DataError``."""
    root = Path(spec.folder).expanduser()
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    if find_idx(root, IDX_FILES["train"][0]) is not None:
        return _read_idx_folder(root)
    divided = (root / "train").is_dir()
    classes = _class_names(root / "train" if divided else root)
    train = _list(root / "train" if divided else root, classes)
    if divided and (root / "test").is_dir():
        test = _list(root / "test", classes)
    else:
        train, test = _hold_out(train, spec, root)
    form = Format(spec.size, spec.channels or _channels(train))
    validation = next((root / name for name in _VALIDATION_NAMES if divided and (root / name).is_dir()), None)
    return Parts(
        name=root.resolve().name,
        source=str(root),
        classes=classes,
        train=_decoded(train, form, root),
        validation=_decoded(_list(validation, classes), form, root) if validation else None,
        test=partial(_decoded, test, form, root),
    )


def _read_idx_folder(root: Path) -> Parts:
    train = read_idx_split(root, "train")
    classes = tuple(str(index) for index in range(int(train.labels.max()) + 1))
    return Parts(root.resolve().name, str(root), classes, train, None, partial(read_idx_split, root, "test"))


def _class_names(folder: Path) -> tuple[str, ...]:
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(names) < 2:
        raise DataError(
            f"{folder}: {len(names)} class folders; it needs one subfolder of images per class, at least two"
        )
    return tuple(names)


def _list(folder: Path, classes: tuple[str, ...]) -> Listing:
    unknown = sorted(
        {entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."} - set(classes)
    )
    if unknown:
        raise DataError(f"{folder}: class {unknown[0]!r} is not among the classes of the training images")
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(
            path for path in (folder / name).rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file()
        )
        files += found
        labels += [label] * len(found)
    if not files:
        raise DataError(f"{folder}: no images in its class folders ({', '.join(sorted(_SUFFIXES))})")
    return Listing(tuple(files), tuple(labels))


def _hold_out(listing: Listing, spec: DataSpec, root: Path) -> tuple[Listing, Listing]:
    total = len(listing.files)
    count = sample_count(spec.test, total)
    if count >= total:
        raise DataError(f"{root}: data.test = {spec.test} leaves nothing of {total} images")
    rest, held = stratified(torch.tensor(listing.labels), count, TEST_SEED)
    return listing.take(rest), listing.take(held)


def _channels(listing: Listing) -> int:
    """1 where every file is grey, else 3; only headers are read."""
    for path in listing.files:
        try:
            with Image.open(path) as image:
                if image.mode not in _GREY_MODES:
                    return 3
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise _unreadable(path, error) from None
    return 1


def _decoded(listing: Listing, form: Format, root: Path) -> Split:
    """The images of a listing, decoded once and kept in the cache until a file changes."""
    folder = cache_folder() / "folders"
    key = _digest(listing, form, root)
    cached = read_cached(folder, key)
    if cached is not None:
        return cached.split
    split = Split(_decode(listing.files, form), torch.tensor(listing.labels, dtype=torch.int64))
    write_cached(folder, key, split, str(root))
    return split


def _digest(listing: Listing, form: Format, root: Path) -> str:
    entries = [
        (path.relative_to(root).as_posix(), label, path.stat().st_size, path.stat().st_mtime_ns)
        for path, label in zip(listing.files, listing.labels, strict=True)
    ]
    content = json.dumps([str(root.resolve()), form.size, form.channels, entries])
    return hashlib.sha256(content.encode()).hexdigest()[:24]


def _decode(files: Sequence[Path], form: Format) -> torch.Tensor:
    images: torch.Tensor | None = None
    for index, path in enumerate(files):
        image = _decode_one(path, form)
        if images is None:
            images = torch.empty((len(files), *image.shape), dtype=torch.uint8)
        if image.shape != images.shape[1:]:
            raise DataError(f"{path} is {_sides(image)} pixels but {files[0]} is {_sides(images[0])}; set data.size")
        images[index] = image
    if images is None:
        raise DataError("no images to read")
    return images


def _decode_one(path: Path, form: Format) -> torch.Tensor:
    try:
        with Image.open(path) as image:
            if form.size:
                image.draft("L" if form.channels == 1 else "RGB", (2 * form.size, 2 * form.size))
            plain = image.convert("L" if form.channels == 1 else "RGB")
        if form.size:
            plain = plain.resize((form.size, form.size), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from None
    pixels = np.array(plain, dtype=np.uint8)
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], form.channels)).permute(2, 0, 1)


def _sides(image: torch.Tensor) -> str:
    return f"{image.shape[-1]}×{image.shape[-2]}"


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is no readable image ({error}); mend or remove it")
