"""What becomes of errors: one line on standard error and an exit code that never reads as success.

    0     done (optimize: it helped)
    1     done, and the answer is no (optimize: it did not help; plugins check: there are findings; bench: too slow)
    2     the input is wrong
    70    an internal error, whose traceback is kept in a file, or the machine failed (disk full, out of memory)
    130   interrupted

``COMPRESSOR_TRACEBACK=1`` shows every traceback.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from compressor import __version__
from compressor.cli import streams
from compressor.errors import CompressorError, ExportError, InputError
from compressor.foreign import described
from compressor.report.text import clean

OK, NO, WRONG_INPUT, INTERNAL, INTERRUPTED = 0, 1, 2, 70, 130

_UsageError = typer.BadParameter.__mro__[1]
"""What typer raises for a command line it cannot read; typer exports only this subclass."""


def exit_code(run: Callable[[], object]) -> int:
    """Run a command; its exit code, whatever happens in it. Errors are reported on standard error."""
    interrupted = _Interrupted()
    try:
        with interrupted:
            code = run()
        sys.stdout.flush()
    except BaseException as error:
        if _wants_traceback():
            traceback.print_exc()
        if interrupted.heard and not isinstance(error, CompressorError):  # libraries make other errors of it
            error = KeyboardInterrupt()
        return _report(error)
    if code == INTERRUPTED and interrupted.heard:  # typer makes an exit code of it
        return _say("interrupted", INTERRUPTED)
    if streams.lost:
        return _say(f"standard output: {_system(streams.lost[0])}: what should be there is lost", INTERNAL)
    return code if isinstance(code, int) else OK


class _Interrupted:
    """Ctrl-C while it is entered raises ``KeyboardInterrupt`` as ever, and is remembered."""

    heard = False

    def __enter__(self) -> None:
        self._before: Any = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._hear)

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.heard = True
        raise KeyboardInterrupt


def _report(error: BaseException) -> int:
    match error:
        case SystemExit() if "_COMPRESSOR_COMPLETE" in os.environ:  # how typer ends when a shell asks for completions
            return error.code if isinstance(error.code, int) else INTERNAL
        case SystemExit():
            return _say(f"something ended the program: {described(error)}", INTERNAL)
        case KeyboardInterrupt():
            return _say("interrupted", INTERRUPTED)
        case typer.Abort():
            return _say("aborted", INTERRUPTED)
        case _ if isinstance(error, _UsageError):
            return _say(_usage(error), WRONG_INPUT)
        case InputError() | ExportError():
            return _say(str(error), WRONG_INPUT)
        case CompressorError():
            return _say(f"{type(error).__name__}: {error}", INTERNAL)
        case FileNotFoundError() | PermissionError() | IsADirectoryError() | NotADirectoryError() | FileExistsError():
            return _say(_system(error), WRONG_INPUT)
        case OSError():
            return _say(_system(error), INTERNAL)
        case MemoryError():
            return _say("out of memory", INTERNAL)
    return _say(_internal(error), INTERNAL)


def _say(message: str, code: int) -> int:
    print(f"compressor: {clean(message)}", file=sys.stderr)
    return code


def _usage(error: BaseException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "compressor"
    text = getattr(error, "format_message", error.__str__)()
    return f"{text[:1].lower()}{text[1:].rstrip('.')}; see {command} --help"


def _system(error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else reason


def _internal(error: BaseException) -> str:
    what = f"internal error: {type(error).__name__}: {error}"
    if _wants_traceback():
        return f"{what}; please report it"
    return f"{what}; please report it with {_keep(error)}"


def _keep(error: BaseException) -> str:
    """Write the traceback to a file of its own; where that fails, say how to see it."""
    text = f"compressor {__version__}\n{' '.join(sys.argv)}\n\n" + "".join(traceback.format_exception(error))
    try:
        handle, name = tempfile.mkstemp(prefix="compressor-error-", suffix=".txt")
        os.close(handle)
        Path(name).write_text(text, encoding="utf-8")
    except OSError:
        return "what COMPRESSOR_TRACEBACK=1 shows"
    return name


def _wants_traceback() -> bool:
    return os.environ.get("COMPRESSOR_TRACEBACK", "") not in ("", "0")
