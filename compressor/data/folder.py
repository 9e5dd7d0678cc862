"""A folder of images: what kind of set it is, by what lies in it, or as ``data.kind`` says."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from compressor.data.class_folders import read_class_folders
from compressor.data.coco import find_annotations, read_boxes
from compressor.data.idx import IDX_FILES, find_idx, read_idx_split
from compressor.data.listing import SPLIT_FOLDERS, folders_in, is_sample, visible
from compressor.data.masks import find_masks, read_masks
from compressor.data.parts import Parts
from compressor.data.plain_images import read_plain_images
from compressor.data.pool import Held, Pool
from compressor.data.spec import DataSpec
from compressor.errors import DataError


def read_folder(spec: DataSpec) -> Parts:
    """The parts of the folder ``spec.folder``. Raises ``DataError``.

    The four IDX files of MNIST's format; COCO's annotations; a folder of images beside one of masks; images without
    any folders for classes; else class folders.
    """
    root = Path(spec.folder).expanduser()
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    match spec.kind if spec.kind != "auto" else _kind(root):
        case "idx":
            return _read_idx(root)
        case "boxes":
            return read_boxes(root, spec)
        case "masks":
            return read_masks(root, spec)
        case "images":
            return read_plain_images(root, spec)
    return read_class_folders(root, spec)


def _kind(root: Path) -> str:
    if find_idx(root, IDX_FILES["train"][0]) is not None:
        return "idx"
    if find_annotations(root):
        return "boxes"
    if find_masks(root):
        return "masks"
    folders = [folder for folder in folders_in(root) if _holds_anything(folder)]
    only_splits = folders and all(
        folder.name.casefold() in SPLIT_FOLDERS and not folders_in(folder) for folder in folders
    )
    if (not folders and _holds_images(root)) or (only_splits and len(folders) > 1):
        return "images"
    return "classes"


def _holds_anything(folder: Path) -> bool:
    return _holds_images(folder) or any(map(_holds_anything, folders_in(folder)))


def _holds_images(folder: Path) -> bool:
    return any(not entry.is_dir() and is_sample(entry) for entry in visible(folder))


def _read_idx(root: Path) -> Parts:
    train = Held(read_idx_split(root, "train"), f"{root}: the training files")
    return Parts(root.resolve().name, str(root), (), train, None, partial(_idx_test, root))


def _idx_test(root: Path) -> Pool:
    return Held(read_idx_split(root, "test"), f"{root}: the test files")
