"""From a pool to a split: the chosen samples read once, into a file that every process of a run maps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import astuple
from itertools import chain

import torch
from torch import Tensor

from compressor.data.cache import cache_folder, read_cached, write_cached
from compressor.data.geometry import Geometry
from compressor.data.pool import Pool, SampleBlock, SubPool
from compressor.data.split import Split
from compressor.errors import DataError

_FORMAT = 2
"""Of what a pool puts into its blocks; another number makes older files of the cache unknown."""


def gather_samples(pool: Pool, rows: Tensor, geometry: Geometry, memory: int, workers: int = 0) -> Split:
    """The samples of ``rows``, which ascend, in the wanted size.

    What lies in memory already stays there. What is read from files goes, once, into the cache and is mapped from
    there; where the cache cannot hold it, it is held in memory, at most ``memory`` bytes of it; where that is too
    little, it is read anew each time, by ``workers``. Raises ``DataError``.
    """
    while isinstance(pool, SubPool):
        rows = pool.rows[rows]
        pool = pool.whole
    geometry = Geometry() if pool.sized else geometry
    found = pool.ready(rows, geometry)
    found = _cached(pool, rows, geometry) if found is None else found
    return _read(pool, rows, geometry, memory, workers) if found is None else found


def _cached(pool: Pool, rows: Tensor, geometry: Geometry) -> Split | None:
    if not pool.key:
        return None
    folder = cache_folder() / "sets"
    content = json.dumps([_FORMAT, pool.key, astuple(geometry), hashlib.sha256(rows.numpy().tobytes()).hexdigest()])
    name = hashlib.sha256(content.encode()).hexdigest()[:24]
    found = read_cached(folder, name)
    if found is None:
        blocks = _sized(pool, rows, geometry)
        if not write_cached(folder, name, len(rows), blocks, pool.where, lambda: pool.facts):
            return None
        found = read_cached(folder, name)
    if found is None:
        return None
    pool.recall(found.facts)
    return pool.together(found.tensors, rows, found.touched)


def _read(pool: Pool, rows: Tensor, geometry: Geometry, memory: int, workers: int) -> Split:
    """Held in memory where it may be, else read anew each time."""
    blocks = _sized(pool, rows, geometry)
    first = next(blocks)
    size = sum(len(rows) * tensor[:1].nbytes for tensor in first.values())
    if size <= memory:
        return pool.together(_in_memory(len(rows), chain((first,), blocks)), rows)
    streamed = pool.streamed(rows, workers)
    if streamed is not None:
        return streamed
    raise DataError(
        f"{pool.where}: the samples take {size / 2**30:.1f} GiB, more than data.memory allows "
        f"({memory / 2**30:.1f} GiB), and {cache_folder()} cannot hold them: make room there, name another folder "
        "with COMPRESSOR_DATA, or use fewer with data.limit"
    )


def _in_memory(count: int, blocks: Iterator[SampleBlock]) -> SampleBlock:
    whole: dict[str, Tensor] = {}
    filled = 0
    for block in blocks:
        for name, part in block.items():
            if name not in whole:
                whole[name] = torch.empty((count, *part.shape[1:]), dtype=part.dtype)
            whole[name][filled : filled + len(part)] = part
        filled += len(next(iter(block.values())))
    return whole


def _sized(pool: Pool, rows: Tensor, geometry: Geometry) -> Iterator[SampleBlock]:
    return (pool.resized(block, geometry) if geometry else block for block in pool.blocks(rows))
