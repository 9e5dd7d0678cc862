"""Splits that a source does not have, drawn from what it has: the same ones on every machine."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from compressor.data.pool import Pool, SubPool
from compressor.data.spec import DataSpec
from compressor.data.stratify import sample_count, stratified
from compressor.errors import DataError

TEST_SEED = 20_011
"""Draws the test split where a source has none: fixed, so that no seed of a run moves test samples into training."""


def divided(pool: Pool, spec: DataSpec, where: str, what: str) -> tuple[Pool, Callable[[], Pool]]:
    """``pool`` without the test samples, and these. Raises ``DataError`` where nothing would be left."""
    count = sample_count(spec.test, len(pool))
    if count >= len(pool):
        raise DataError(f"{where}: data.test = {spec.test} leaves nothing of {len(pool)} {what}")
    rest, held = drawn(len(pool), pool.strata, count, TEST_SEED)
    test = SubPool(pool, held)
    return SubPool(pool, rest), lambda: test


def drawn(total: int, strata: Tensor | None, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """``(rest, drawn)``, both ascending indices: every class gives its share where there are classes."""
    return stratified(torch.zeros(total, dtype=torch.int64) if strata is None else strata, count, seed)
