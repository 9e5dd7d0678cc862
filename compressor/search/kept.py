"""What an earlier session of the run left behind: taken as it is where it is whole, else made again, with a note."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from compressor.errors import DamagedFileError, ModelFileError
from compressor.search.observer import Note, Observer

T = TypeVar("T")


def kept(read: Callable[[], T | None], observer: Observer, *, instead: str) -> T | None:
    """What ``read`` returns; None, with a note that says what is done ``instead``, where a file is damaged."""
    try:
        return read()
    except (DamagedFileError, ModelFileError) as error:
        observer.notify(Note(f"{error}; {instead}"))
        return None
