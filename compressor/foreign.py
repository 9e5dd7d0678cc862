"""Code that is not the toolkit's own: whatever it raises is put down to whoever wrote it, with file and line."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compressor.errors import CompressorError, ForeignError

_OWN = str(Path(__file__).parent)
_LIBRARIES = ("site-packages", "dist-packages", "<frozen", "<string>")
_LONGEST = 300


@contextmanager
def blaming(whose: str) -> Iterator[None]:
    """Raises ``ForeignError`` for whatever goes wrong within, an exit included; the toolkit's own errors pass.

    ``whose`` begins the message: ``plugin 'x' of y 1.0, site conv1``.
    """
    try:
        yield
    except (CompressorError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise ForeignError(f"{whose}: {described(error)}") from error


def described(error: BaseException) -> str:
    """``ZeroDivisionError: division by zero (mine.py, line 12)``, in one line."""
    where = _origin(error)
    what = f"SystemExit: {error.code!r}" if isinstance(error, SystemExit) else one_line(error)
    return f"{what} ({where})" if where else what


def one_line(error: BaseException) -> str:
    """``ValueError: what it says``, in one line that is not too long."""
    text = " ".join(str(error).split()) or "no message"
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return f"{type(error).__name__}: {text}"


def _origin(error: BaseException) -> str:
    """File and line of the innermost frame that belongs neither to the toolkit nor to a library; else the innermost."""
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if not frame.filename.startswith(_OWN)]
    theirs = [frame for frame in outside if not any(part in frame.filename for part in _LIBRARIES)]
    chosen = (theirs or outside)[-1:]
    return f"{chosen[0].filename}, line {chosen[0].lineno}" if chosen else ""
