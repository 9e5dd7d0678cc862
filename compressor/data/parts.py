"""What every reader gives: training samples in memory, the test split as something that can still be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from compressor.data.dataset import Split
from compressor.errors import DataError


class MissingFile(DataError):  # noqa: N818
    """A file of a set is not where it was looked for; a damaged one is a plain ``DataError``."""


@dataclass(frozen=True)
class Parts:
    """A set as its source holds it, before validation is carved out and anything is resized or normalised."""

    name: str
    source: str
    classes: tuple[str, ...]
    train: Split
    validation: Split | None
    """None where the source has no validation split of its own."""
    test: Callable[[], Split]
    stand_in: bool = False


TEST_SEED = 20_011
"""Draws the test split where a source has none: fixed, so that no seed of a run moves test samples into training."""
