"""Names that one process at a time holds, so that several can work at one page. It lets go when it ends, in any way."""

from __future__ import annotations

import fcntl
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(name: str, *, wait: bool = True) -> Iterator[bool]:
    """No other process holds the name meanwhile. Says whether this one does, which it always does if it may wait."""
    path = Path(tempfile.gettempdir()) / f"compressor-papers-{zlib.crc32(name.encode()):08x}.lock"
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
