"""Standard streams that never fail: what a command does is not undone because nobody reads what it says.

A reader that went away (``| head``) and a stream that was closed before the start are no failures. Where standard
output could not be written for another reason (a full disk), the command goes on, and says at its end that its result
is lost.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import TextIO

_GONE = (errno.EPIPE, errno.EBADF, errno.ENXIO)
lost: list[OSError] = []
"""Why standard output could not be written, where it was not for want of a reader."""


class _Unfailing(io.RawIOBase):
    """A file descriptor whose writes succeed, whatever becomes of them."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: object, /) -> int:
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        left = view
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:
                with suppress(OSError):
                    os.set_blocking(self._descriptor, True)
            except OSError as error:
                if self._descriptor == 1 and error.errno not in _GONE:
                    lost.append(error)
                break
        return len(view)


def robust() -> None:
    """Make the standard streams of this process unfailing; a replaced one (in a notebook, in a test) stays as it is."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:  # closed: let nothing else be opened in its place
            _open_nowhere(descriptor)
            setattr(sys, name, _text(descriptor, "utf-8", line_buffering=False))
        elif stream is getattr(sys, f"__{name}__") and not isinstance(getattr(stream, "buffer", None), io.BytesIO):
            with suppress(OSError, ValueError):
                stream.flush()
            setattr(sys, name, _text(descriptor, stream.encoding, line_buffering=stream.isatty() or descriptor == 2))


def _text(descriptor: int, encoding: str, *, line_buffering: bool) -> TextIO:
    """Letters that the encoding does not have become question marks: a figure is worth more than its µ."""
    buffered = io.BufferedWriter(_Unfailing(descriptor))
    return io.TextIOWrapper(buffered, encoding, errors="replace", line_buffering=line_buffering)


def _open_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
