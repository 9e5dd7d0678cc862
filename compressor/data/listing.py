"""Which files of a folder of class folders are samples, of which class, in which split. Nothing of them is decoded.

    root/cat/1.jpg                    root/train/cat/1.jpg   root/val/cat/2.jpg   root/test/cat/3.jpg

What lies about in folders (hidden files, a file manager's notes, a notebook's checkpoints) is no class and no sample.
What might be a sample and is not read (another image format, a pipe, a link to nothing) is refused, never left out.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from compressor.data.image_file import FORMATS, is_image
from compressor.errors import DataError, did_you_mean

_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"})
"""Certainly meant as images, and refused where they are none. What is called otherwise is looked into."""
_OTHER_FORMATS: Final = frozenset(
    {".heic", ".heif", ".avif", ".jp2", ".j2k", ".jxl", ".psd", ".svg", ".eps", ".ps", ".pdf", ".ico", ".tga", ".exr"}
    | {".hdr", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw", ".dcm", ".nii", ".npy", ".npz", ".mat", ".fits"}
)
_TEXTS: Final = frozenset({".txt", ".md", ".csv", ".json", ".xml", ".yaml", ".yml", ".html", ".log", ".ini", ".db"})
_NO_CLASSES: Final = frozenset(
    {"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "__pycache__"}
)
SPLIT_FOLDERS: Final = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Names of the folders of splits, whatever their case."""


@dataclass(frozen=True)
class Listing:
    """Image files with their class indices; ``strays`` are files beside them that are no images."""

    files: tuple[Path, ...]
    labels: tuple[int, ...]
    strays: tuple[Path, ...] = ()


@dataclass(frozen=True)
class FolderLayout:
    """Where the class folders of each split are; None where the set has no such split."""

    train: Path
    validation: Path | None = None
    test: Path | None = None


def stray_notes(strays: Sequence[Path]) -> tuple[str, ...]:
    """A note on files that lay among the samples and were left out."""
    if not strays:
        return ()
    what = "files that are no samples" if len(strays) > 1 else "file that is no sample"
    return (f"{len(strays)} {what} left out, {strays[0]} first",)


def layout_of(root: Path) -> FolderLayout:
    """Class folders directly in ``root``, or below folders of splits. Raises ``DataError`` where it might be both."""
    folders = folders_in(root)
    found: dict[str, Path] = {}
    for folder in folders:
        split = SPLIT_FOLDERS.get(folder.name.casefold())
        if split is None or not folders_in(folder):  # "train" may be a class too: its images lie directly in it
            continue
        if split in found:
            raise DataError(
                f"{root}: {found[split].name}/ and {folder.name}/ are both {split} images; keep one of them"
            )
        found[split] = folder
    if not found:
        return FolderLayout(root)
    if "train" not in found:
        names = ", ".join(f"{path.name}/" for path in found.values())
        raise DataError(f"{root}: {names} and no train/; put the training images into train/")
    for folder in folders:
        if folder not in found.values() and next(images_below(folder, root, []), None) is not None:
            split = SPLIT_FOLDERS.get(folder.name.casefold())
            remedy = "sort its images into class folders" if split else "it is neither train, val nor test"
            raise DataError(f"{folder} holds images beside {found['train'].name}/: {remedy}, or move it away")
    return FolderLayout(found["train"], found.get("validation"), found.get("test"))


def class_names(folder: Path, order: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The names of the class folders, alphabetically, or in the ``order`` given. Raises ``DataError``."""
    names = tuple(sorted(_plain(entry.name) for entry in folders_in(folder)))
    if len(names) < 2:
        raise DataError(
            f"{folder}: {len(names)} class folders; it needs one subfolder of images per class, at least two"
        )
    if len(set(names)) < len(names):
        raise DataError(f"{folder}: two class folders have names that look the same; rename one of them")
    if not order:
        return names
    for name in order:
        if name not in names:
            raise DataError(f"data.classes: {folder} has no folder {name!r}{did_you_mean(name, names)}")
    left = sorted(set(names) - set(order))
    if left or len(set(order)) < len(order):
        raise DataError(f"data.classes: name every class folder of {folder} once; missing: {', '.join(left) or 'none'}")
    return order


def listing_of(folder: Path, classes: tuple[str, ...], *, every_class: bool = False) -> Listing:
    """The images below the class folders of ``folder``, class by class.

    Raises ``DataError`` for a class that is not among ``classes``, for a file that cannot be a sample, and, where
    ``every_class`` is wanted, for a class folder without images.
    """
    folders = {_plain(entry.name): entry for entry in folders_in(folder)}
    unknown = sorted(folders.keys() - set(classes))
    if unknown:
        raise DataError(f"{folder}: class {unknown[0]!r} is not among the classes of the training images")
    files: list[Path] = []
    labels: list[int] = []
    strays = [entry for entry in visible(folder) if not entry.is_dir() and is_sample(entry)]
    for label, name in enumerate(classes):
        found = list(images_below(folders[name], folder, strays)) if name in folders else []
        if every_class and not found:
            raise DataError(f"{folders[name]} holds no images; a class needs some: fill the folder or move it away")
        files += found
        labels += [label] * len(found)
    if not files:
        raise DataError(f"{folder}: no images in its class folders ({', '.join(FORMATS)})")
    return Listing(tuple(files), tuple(labels), tuple(strays))


def images_below(folder: Path, root: Path, strays: list[Path], inside: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Image files anywhere below ``folder``, in the order of their names; other files go to ``strays``."""
    inside |= {os.path.realpath(folder)}
    for entry in visible(folder):
        if not entry.is_dir():
            if is_sample(entry):
                yield entry
            elif entry.suffix.lower() not in _TEXTS:
                strays.append(entry)
        elif not entry.is_symlink() or _leads_elsewhere(entry, root, inside):
            yield from images_below(entry, root, strays, inside)


def _leads_elsewhere(link: Path, root: Path, inside: frozenset[str]) -> bool:
    """Whether a link to a folder leads to images that are not read already. Raises ``DataError`` where it leads up."""
    target = Path(os.path.realpath(link))
    top = Path(os.path.realpath(root))
    if top.is_relative_to(target) and target != top:
        raise DataError(f"{link} is a link to {target}, a folder around the images; remove it")
    return not target.is_relative_to(top) and str(target) not in inside


def is_sample(path: Path) -> bool:
    """Whether a file is an image. Raises ``DataError`` where it might be meant as one and cannot be read."""
    suffix = path.suffix.lower()
    if suffix in _TEXTS:
        return False
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}); mend or remove it") from None
    if not stat.S_ISREG(mode):
        raise DataError(f"{path} is no regular file (a pipe, a device or the like); remove it")
    if suffix in _SUFFIXES:
        return True
    if suffix in _OTHER_FORMATS:
        raise DataError(f"{path}: {suffix} is not read; save it as one of {', '.join(FORMATS)}, or move it away")
    return is_image(path)


def folders_in(folder: Path) -> list[Path]:
    """The folders in ``folder``, by name, that may be classes or splits."""
    return [entry for entry in visible(folder) if entry.is_dir()]


def visible(folder: Path) -> list[Path]:
    """What a person put into ``folder``, by name. Raises ``DataError``."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror or error})") from None
    return [e for e in entries if not e.name.startswith((".", "~$")) and e.name.casefold() not in _NO_CLASSES]


def _plain(name: str) -> str:
    """A name as it looks: file systems store the same letters in several ways."""
    return unicodedata.normalize("NFC", name)
