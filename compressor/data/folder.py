"""Folders of images, one subfolder per class (the ImageFolder layout of torchvision, and that of Caltech-256).

The class folders stand directly in the root, or under ``train`` with ``val`` and ``test`` beside it. What is missing is
drawn from the rest: the test split once and for all, the validation split by seed. A folder with the four IDX files of
MNIST's format is read as such.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import astuple, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

from compressor.data.idx import IDX_FILES, find_idx, read_idx_split
from compressor.data.image_file import Format, header, largest_value, read_image, white_of
from compressor.data.listing import Listing, class_names, layout_of, listing_of
from compressor.data.parts import TEST_SEED, Parts
from compressor.data.pool import Held, Pool, rows_per_block
from compressor.data.spec import DataSpec
from compressor.data.stratify import sample_count, stratified
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
    if layout.test is not None:
        test = listing_of(layout.test, classes)
    else:
        train, test = _hold_out(train, spec, root)
    images = Images(train, root, Format(0, spec.channels, spec.white, spec.background, spec.geometry))
    return Parts(
        name=root.resolve().name,
        source=str(root),
        classes=classes,
        train=images,
        validation=Images(listing_of(layout.validation, classes), root, images) if layout.validation else None,
        test=lambda: Images(test, root, images),
        notes=notes,
    )


class Images(Pool):
    """The images of a listing, decoded as ``form`` says, or as those of another pool that was read before."""

    sized = True

    def __init__(self, listing: Listing, root: Path, form: Format | Images) -> None:
        self.labels = torch.tensor(listing.labels, dtype=torch.int64)
        self.where = str(root)
        self._listing = listing
        self._leader = form if isinstance(form, Images) else None
        self._form = form if isinstance(form, Format) else form.form

    @property
    def form(self) -> Format:
        """What every image becomes, completed by what the first reading found."""
        return self._leader.form if self._leader else self._form

    @cached_property
    def _files(self) -> list[tuple[str, int, int]]:
        found = [(path, path.stat()) for path in self._listing.files]
        return [(str(path.absolute()), status.st_size, status.st_mtime_ns) for path, status in found]

    @property
    def key(self) -> str:
        return json.dumps([self._files, astuple(self.form)])

    @property
    def facts(self) -> Mapping[str, str]:
        form = self.form
        return {"channels": str(form.channels), "white": repr(form.white), "inferred": str(int(form.inferred))}

    def recall(self, facts: Mapping[str, str]) -> None:
        if self._leader is None:
            self._form = replace(
                self._form,
                channels=int(facts["channels"]),
                white=float(facts["white"]),
                inferred=facts["inferred"] == "1",
            )

    def blocks(self, rows: Tensor) -> Iterator[Tensor]:
        files = [self._listing.files[row] for row in rows.tolist()]
        if self._leader is None:
            self._form = completed(self._form, files)
        block: list[Tensor] = []
        first: Tensor | None = None
        for path in files:
            image = _decode_one(path, self.form)
            first = image if first is None else first
            if image.shape != first.shape:
                raise DataError(f"{path} is {_sides(image)} pixels but {files[0]} is {_sides(first)}; set data.size")
            block.append(image)
            if len(block) == rows_per_block(image.nbytes):
                yield torch.stack(block)
                block = []
        if block:
            yield torch.stack(block)


def completed(form: Format, files: list[Path]) -> Format:
    """``form`` with what it leaves open as ``files`` have it: grey where every one is grey, and what white is.

    Headers alone are read, but for images of more than 8 bits where ``form`` does not say what white is.
    """
    headers = [(path, *header(path)) for path in files]
    deep = [path for path, _, is_deep in headers if is_deep]
    if not form.channels:
        form = replace(form, channels=1 if all(grey for _, grey, _ in headers) else 3, inferred=True)
    if not form.white and deep:
        found = [(*largest_value(path), path) for path in deep]
        floating = {kind for _, kind, _ in found}
        if len(floating) > 1:
            raise DataError(f"{deep[0].parent}: whole and floating-point numbers side by side; keep one kind of image")
        largest, kind, example = max(found, key=lambda entry: entry[0])
        form = replace(form, white=white_of(largest, kind, example))
    return form


def _decode_one(path: Path, form: Format) -> Tensor:
    """``(C, H, W)`` of uint8. Raises ``DataError`` that names the file."""
    return torch.from_numpy(read_image(path, form)).permute(2, 0, 1)


def _read_idx_folder(root: Path) -> Parts:
    train = Held(read_idx_split(root, "train"), f"{root}: the training files")
    return Parts(root.resolve().name, str(root), (), train, None, partial(_idx_test, root))


def _idx_test(root: Path) -> Pool:
    return Held(read_idx_split(root, "test"), f"{root}: the test files")


def _hold_out(listing: Listing, spec: DataSpec, root: Path) -> tuple[Listing, Listing]:
    total = len(listing.files)
    count = sample_count(spec.test, total)
    if count >= total:
        raise DataError(f"{root}: data.test = {spec.test} leaves nothing of {total} images")
    rest, held = stratified(torch.tensor(listing.labels), count, TEST_SEED)
    return listing.take(rest), listing.take(held)


def _notes(listing: Listing) -> tuple[str, ...]:
    if not listing.strays:
        return ()
    what = "files that are no samples" if len(listing.strays) > 1 else "file that is no sample"
    return (f"{len(listing.strays)} {what} left out, {listing.strays[0]} first",)


def _sides(image: Tensor) -> str:
    return f"{image.shape[-1]}×{image.shape[-2]}"
