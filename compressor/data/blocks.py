"""How much of a set is in memory at once while it is gone through."""

from __future__ import annotations

from typing import Final

BLOCK: Final = 32 << 20
"""Bytes of samples that are in memory at once while a set is read."""


def rows_per_block(sample_bytes: int) -> int:
    """How many samples of that size may be in memory at once."""
    return max(1, BLOCK // max(sample_bytes, 1))
