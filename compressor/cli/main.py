"""The start of the command line: streams that cannot fail, an interrupt that is heard from the first moment on."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing itself takes longer to import than the rest of this file, and Ctrl-C may come meanwhile
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

INTERRUPTED = 130


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Ctrl-C before a command began is no traceback."""
    if issubclass(kind, KeyboardInterrupt):
        print("compressor: interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if sys.excepthook is sys.__excepthook__:
    sys.excepthook = _uncaught


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (``sys.argv`` when there are no ``arguments``); returns the exit code."""
    try:
        from compressor.cli.streams import robust

        robust()
        from compressor.cli.failures import exit_code
    except KeyboardInterrupt:
        print("compressor: interrupted", file=sys.stderr)
        return INTERRUPTED
    return exit_code(lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> object:
    from compressor.cli.app import app

    given = list(arguments) if arguments is not None else None
    return app(args=given, prog_name="compressor", standalone_mode=False)


def __getattr__(name: str) -> object:
    """``app``, the commands themselves, imported when someone asks for them."""
    if name == "app":
        from compressor.cli.app import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    sys.exit(main())
