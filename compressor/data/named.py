"""Sets by name: the cache first, then each place in turn, and last, only where allowed, a stand-in."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from compressor.data.blocks import rows_per_block
from compressor.data.cache import cache_folder, read_cached, write_cached
from compressor.data.catalogue import CATALOGUE, NamedSet
from compressor.data.digits import ABOUT, CLASSES, read_digits, read_stand_in
from compressor.data.held import HeldSplit
from compressor.data.parts import MissingFile, Parts
from compressor.data.pool import Held, Pool
from compressor.data.sources import LocalFolder, Source, Unavailable
from compressor.errors import DataError, did_you_mean

_log = logging.getLogger(__name__)

DIGITS = "digits"
OFFLINE = "COMPRESSOR_OFFLINE"
"""Environment variable: anything but empty or 0 forbids every download."""
DOWNLOAD = "COMPRESSOR_DOWNLOAD"
"""Environment variable: anything but empty or 0 does what ``data.download = true`` does."""


class FoundSplit(NamedTuple):
    """A split, and where it had come from."""

    split: HeldSplit
    source: str


def names() -> tuple[str, ...]:
    """Every set known by name."""
    return (*CATALOGUE, DIGITS)


def read_named(name: str, *, fallback: bool = False, download: bool = False) -> Parts:
    """The set called ``name``; ``download`` admits places that run another program.

    Raises ``DataError`` where it is unknown or cannot be had.
    """
    if name == DIGITS:
        return _parts(name, ABOUT, CLASSES, read_digits)
    if name not in CATALOGUE:
        raise DataError(f"data: no set is called {name!r}{did_you_mean(name, names())}")
    entry = CATALOGUE[name]
    try:
        train = find_split(entry, "train", download)
    except DataError:
        if not fallback:
            raise
        return _stand_in(entry)
    return _parts(
        name,
        train.source,
        entry.classes,
        lambda split: train.split if split == "train" else find_split(entry, split, download).split,
    )


def _parts(
    name: str, source: str, classes: tuple[str, ...], read: Callable[[str], HeldSplit], stand_in: bool = False
) -> Parts:
    def pool(split: str) -> Pool:
        return Held(read(split), name)

    return Parts(name, source, classes, pool("train"), None, partial(pool, "test"), published=True, stand_in=stand_in)


def find_split(entry: NamedSet, split: str, download: bool = False) -> FoundSplit:
    """``train`` or ``test`` of a set from the first place that has it. Raises ``DataError`` listing all that do not."""
    download = download or _is_set(DOWNLOAD)
    folder = cache_folder() / entry.name
    cached = read_cached(folder, split)
    if cached is not None and {"images", "labels"} == set(cached.tensors):
        found = HeldSplit(cached.tensors["images"], cached.tensors["labels"].clone(), touched=cached.touched)
        if len(found) == entry.sizes[split]:
            return FoundSplit(found, cached.source)
    reasons: list[str] = []
    for source in (LocalFolder(folder), *entry.sources):
        try:
            return FoundSplit(_take(entry, source, split, folder, download), source.about)
        except Unavailable as reason:
            reasons.append(f"{source.about}: {reason}")
        except MissingFile:
            reasons.append(f"{source.about}: not there")
        except DataError as damage:
            _log.warning("%s", damage)
            reasons.append(str(damage))
    raise DataError(
        f"{entry.name} cannot be had ({'; '.join(reasons)}). Put {entry.files} into {folder}, "
        "or allow the embedded digits as a stand-in with data.fallback = true"
    )


def _take(entry: NamedSet, source: Source, split: str, cache: Path, download: bool) -> HeldSplit:
    """Read a split from one source and keep it in the cache; from a download, keep both splits."""
    if source.downloads and _is_set(OFFLINE):
        raise Unavailable(f"not tried, {OFFLINE} is set")
    if source.program and not download:
        raise Unavailable(f"not tried, it would run {source.program}; allow that with data.download = true")
    if source.program and shutil.which(source.program) is None:
        raise Unavailable(f"{source.program} is not installed")
    if source.downloads:
        _log.warning("%s", _announcement(entry, source, cache))
    with tempfile.TemporaryDirectory(prefix="compressor-data-", ignore_cleanup_errors=True) as temporary:
        files = source.provide(Path(temporary))
        content = _read(entry, files, split)
        _keep(cache, split, content, source)
        if source.downloads:
            other = "test" if split == "train" else "train"
            _keep(cache, other, _read(entry, files, other), source)
    return content


def _keep(cache: Path, split: str, content: HeldSplit, source: Source) -> None:
    size = rows_per_block(content.store[:1].nbytes)
    blocks = ({"images": images, "labels": labels} for images, labels in content.batches(size))
    write_cached(cache, split, len(content), blocks, source.about)


def _announcement(entry: NamedSet, source: Source, cache: Path) -> str:
    """``fetching fashion-mnist (about 31 MB) from …, with apt-get, into …; nothing is installed``."""
    size = f" (about {source.megabytes} MB)" if source.megabytes else ""
    program = f", with {source.program}; nothing is installed" if source.program else ""
    return f"fetching {entry.name}{size} from {source.about} into {cache}{program}"


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "0") not in ("", "0")


def _read(entry: NamedSet, files: Path, split: str) -> HeldSplit:
    content = entry.read(files, split)
    wanted = (entry.sizes[split], *entry.shape)
    if tuple(content.images.shape) != wanted:
        raise DataError(f"{files}: the {split} images are {tuple(content.images.shape)} instead of {wanted}")
    if int(content.targets().min()) < 0 or int(content.targets().max()) >= len(entry.classes):
        raise DataError(f"{files}: the {split} labels leave 0…{len(entry.classes) - 1}")
    return content


def _stand_in(entry: NamedSet) -> Parts:
    shape = "×".join(str(side) for side in entry.shape)
    source = (
        f"STAND-IN: {entry.name} could not be had, so these are the digits {ABOUT}, enlarged to {shape}; "
        f"results say nothing about {entry.name}"
    )
    name = f"{DIGITS} (stand-in for {entry.name})"
    return _parts(name, source, CLASSES, lambda split: read_stand_in(split, entry.shape), stand_in=True)
