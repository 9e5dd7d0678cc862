"""What every reader gives: its samples as pools, none of whose images has been read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from compressor.data.pool import Pool
from compressor.errors import DataError


class MissingFile(DataError):  # noqa: N818
    """A file of a set is not where it was looked for; a damaged one is a plain ``DataError``."""


@dataclass(frozen=True)
class Parts:
    """A set as its source holds it, before validation is carved out and anything is resized or normalised."""

    name: str
    source: str
    classes: tuple[str, ...]
    """Their names; empty where nothing names them."""
    train: Pool
    validation: Pool | None
    """None where the source has no validation split of its own."""
    test: Callable[[], Pool]
    published: bool = False
    """A well-known set, checked against what its authors published: it is not checked again."""
    separate: tuple[str, ...] = ()
    """Splits (validation, test) whose arrays somebody prepared by themselves, perhaps otherwise than those of the
    training split."""
    stand_in: bool = False
    notes: tuple[str, ...] = ()
