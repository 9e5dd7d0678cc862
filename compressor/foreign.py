"""Code that is not the toolkit's own: whatever it raises is put down to whoever wrote it, with file and line."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compressor.errors import CompressorError, ForeignError

_OWN = str(Path(__file__).parent)
_LIBRARIES = ("site-packages", "dist-packages", "<frozen", "<string>")
_LONGEST = 300


@contextmanager
def blaming(whose: str, module: str = "") -> Iterator[None]:
    """Raises ``ForeignError`` for whatever goes wrong within, an exit included; the toolkit's own errors pass.

    ``whose`` begins the message: ``plugin 'x' of y 1.0, site conv1``. ``module`` is where their code lives.
    """
    try:
        yield
    except (CompressorError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise ForeignError(f"{whose}: {described(error, module)}") from error


def described(error: BaseException, module: str = "") -> str:
    """``ZeroDivisionError: division by zero (mine.py, line 12)``, in one line; the line is one of ``module`` if any is.

    It counts as theirs with all of its package, wherever that is installed.
    """
    where = origin(error, module)
    what = f"SystemExit: {error.code!r}" if isinstance(error, SystemExit) else one_line(error)
    return f"{what} ({where})" if where else what


def one_line(error: BaseException) -> str:
    """``ValueError: what it says``, in one line that is not too long."""
    text = " ".join(str(error).split()) or "no message"
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return f"{type(error).__name__}: {text}"


def origin(error: BaseException, module: str = "") -> str:
    """File and line of the innermost frame of ``module``; without one, of the innermost that belongs neither to the
    toolkit nor to a library; else the innermost.
    """
    frames = traceback.extract_tb(error.__traceback__)
    home = _home(module)
    own = [frame for frame in frames if home and frame.filename.startswith(home)]
    outside = [frame for frame in frames if not frame.filename.startswith(_OWN)]
    theirs = [frame for frame in outside if not any(part in frame.filename for part in _LIBRARIES)]
    chosen = (own or theirs or outside)[-1:]
    return f"{chosen[0].filename}, line {chosen[0].lineno}" if chosen else ""


def _home(module: str) -> str:
    """The folder of a module's package, or its file where it is in none; empty where that is not known."""
    top = sys.modules.get(module.partition(".")[0])
    file = getattr(top, "__file__", None)
    if not file:
        return ""
    return f"{Path(file).parent}{os.sep}" if hasattr(top, "__path__") else str(file)
