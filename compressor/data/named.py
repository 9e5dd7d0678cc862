"""Sets by name: the cache first, then each place in turn, and last, only where allowed, a stand-in."""

from __future__ import annotations

import logging
import os
import tempfile
from functools import partial
from pathlib import Path

from compressor.data.cache import Cached, cache_folder, read_cached, write_cached
from compressor.data.catalogue import CATALOGUE, NamedSet
from compressor.data.dataset import Split
from compressor.data.digits import ABOUT, CLASSES, read_digits, read_stand_in
from compressor.data.parts import MissingFile, Parts
from compressor.data.sources import LocalFolder, Source, Unavailable
from compressor.errors import DataError, did_you_mean

_log = logging.getLogger(__name__)

DIGITS = "digits"
OFFLINE = "COMPRESSOR_OFFLINE"
"""Environment variable: anything but empty or 0 forbids every download."""


def names() -> tuple[str, ...]:
    """Every set known by name."""
    return (*CATALOGUE, DIGITS)


def read_named(name: str, *, fallback: bool = False) -> Parts:
    """The set called ``name``. Raises ``DataError`` where it is unknown or cannot be had."""
    if name == DIGITS:
        return Parts(name, ABOUT, CLASSES, read_digits("train"), None, partial(read_digits, "test"))
    if name not in CATALOGUE:
        raise DataError(f"data: no set is called {name!r}{did_you_mean(name, names())}")
    entry = CATALOGUE[name]
    try:
        train = find_split(entry, "train")
    except DataError as error:
        if not fallback:
            raise
        return _stand_in(entry, error)
    return Parts(name, train.source, entry.classes, train.split, None, lambda: find_split(entry, "test").split)


def find_split(entry: NamedSet, split: str) -> Cached:
    """``train`` or ``test`` of a set from the first place that has it. Raises ``DataError`` listing all that do not."""
    folder = cache_folder() / entry.name
    cached = read_cached(folder, split)
    if cached is not None and len(cached.split) == entry.sizes[split]:
        return cached
    reasons: list[str] = []
    for source in (LocalFolder(folder), *entry.sources):
        try:
            return Cached(_take(entry, source, split, folder), source.about)
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


def _take(entry: NamedSet, source: Source, split: str, cache: Path) -> Split:
    """Read a split from one source and keep it in the cache; from a download, keep both splits."""
    if source.downloads and os.environ.get(OFFLINE, "0") not in ("", "0"):
        raise Unavailable(f"not tried, {OFFLINE} is set")
    with tempfile.TemporaryDirectory(prefix="compressor-data-", ignore_cleanup_errors=True) as temporary:
        files = source.provide(Path(temporary))
        content = _read(entry, files, split)
        write_cached(cache, split, content, source.about)
        if source.downloads:
            other = "test" if split == "train" else "train"
            write_cached(cache, other, _read(entry, files, other), source.about)
    return content


def _read(entry: NamedSet, files: Path, split: str) -> Split:
    content = entry.read(files, split)
    wanted = (entry.sizes[split], *entry.shape)
    if tuple(content.images.shape) != wanted:
        raise DataError(f"{files}: the {split} images are {tuple(content.images.shape)} instead of {wanted}")
    if int(content.labels.min()) < 0 or int(content.labels.max()) >= len(entry.classes):
        raise DataError(f"{files}: the {split} labels leave 0…{len(entry.classes) - 1}")
    return content


def _stand_in(entry: NamedSet, reason: DataError) -> Parts:
    shape = "×".join(str(side) for side in entry.shape)
    source = (
        f"STAND-IN: {entry.name} could not be had, so these are the digits {ABOUT}, enlarged to {shape}; "
        f"results say nothing about {entry.name}"
    )
    test = partial(read_stand_in, "test", entry.shape)
    name = f"{DIGITS} (stand-in for {entry.name})"
    return Parts(name, source, CLASSES, read_stand_in("train", entry.shape), None, test, stand_in=True)
