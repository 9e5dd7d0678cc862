"""From a pool to a split: the chosen images read once, into a file that every process of a run maps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import astuple
from itertools import chain

import torch
from torch import Tensor

from compressor.data.cache import cache_folder, read_cached, write_cached
from compressor.data.dataset import Split
from compressor.data.geometry import Geometry
from compressor.data.pool import Part, Pool
from compressor.errors import DataError


def gather(pool: Pool, rows: Tensor, geometry: Geometry, memory: int) -> Split:
    """The samples of ``rows``, which ascend, in the wanted size.

    What lies in memory already stays there. What is read from files goes, once, into the cache and is mapped from
    there; where the cache cannot hold it, it is held in memory, at most ``memory`` bytes of it. Raises ``DataError``.
    """
    while isinstance(pool, Part):
        rows = pool.rows[rows]
        pool = pool.whole
    geometry = Geometry() if pool.sized else geometry
    ready = pool.ready(rows)
    if ready is not None and not geometry:
        return ready
    return _cached(pool, rows, geometry) or _in_memory(pool, rows, geometry, memory)


def _cached(pool: Pool, rows: Tensor, geometry: Geometry) -> Split | None:
    if not pool.key:
        return None
    folder = cache_folder() / "sets"
    content = json.dumps([pool.key, astuple(geometry), hashlib.sha256(rows.numpy().tobytes()).hexdigest()])
    name = hashlib.sha256(content.encode()).hexdigest()[:24]
    found = read_cached(folder, name)
    if found is None:
        blocks = _sized(pool, rows, geometry)
        if not write_cached(folder, name, pool.labels[rows], blocks, pool.where, lambda: pool.facts):
            return None
        found = read_cached(folder, name)
    if found is None:
        return None
    pool.recall(found.facts)
    return found.split


def _in_memory(pool: Pool, rows: Tensor, geometry: Geometry, memory: int) -> Split:
    blocks = _sized(pool, rows, geometry)
    first = next(blocks)
    size = len(rows) * first[:1].nbytes
    if size > memory:
        raise DataError(
            f"{pool.where}: the images take {size / 2**30:.1f} GiB, more than data.memory allows "
            f"({memory / 2**30:.1f} GiB), and {cache_folder()} cannot hold them: make room there, name another folder "
            "with COMPRESSOR_DATA, or use fewer images with data.limit"
        )
    images = torch.empty((len(rows), *first.shape[1:]), dtype=first.dtype)
    filled = 0
    for block in chain((first,), blocks):
        images[filled : filled + len(block)] = block
        filled += len(block)
    return Split(images, pool.labels[rows])


def _sized(pool: Pool, rows: Tensor, geometry: Geometry) -> Iterator[Tensor]:
    return (geometry.of_tensor(block) if geometry else block for block in pool.blocks(rows))
