"""Where a command writes: its result on standard output, everything else on standard error.

With ``--json`` standard output holds one JSON document and nothing else: whatever libraries, plugins or the user's own
functions print meanwhile goes to standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console

from compressor.report.text import clean


class CommandOutput:
    """The two streams of a command."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.results = plain_console()
        self.notes = plain_console(stderr=True)
        self._document: object = None

    def line(self, text: str = "") -> None:
        """One line of the result, never wrapped or cut."""
        self.results.print(text, soft_wrap=True)

    def paragraph(self, text: str) -> None:
        """Text of the result, wrapped to the terminal's width."""
        self.results.print(clean(text))

    def note(self, text: str) -> None:
        """One line beside the result."""
        self.notes.print(clean(text), soft_wrap=True)

    def document(self, data: object) -> None:
        """The JSON document of this command; written when the command ends."""
        self._document = data

    def flush(self) -> None:
        """Write the document."""
        if self._document is not None:
            sys.stdout.write(to_json(self._document) + "\n")
        sys.stdout.flush()


def plain_console(stderr: bool = False) -> Console:
    """A console that prints text as it is: names hold brackets and colons that mean nothing."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def to_json(data: object) -> str:
    """JSON text; figures that are no numbers become null, since JSON has none."""
    return json.dumps(_finite(data), indent=1, ensure_ascii=False)


@contextlib.contextmanager
def output(as_json: bool) -> Iterator[CommandOutput]:
    """The output of one command. The document is written at the end unless an error ends it."""
    out = CommandOutput(as_json)
    if as_json:
        with _standard_output_elsewhere():
            yield out
    else:
        yield out
    out.flush()


@contextlib.contextmanager
def _standard_output_elsewhere() -> Iterator[None]:
    """Send standard output to standard error, for this process and those it starts."""
    try:
        out, err = sys.stdout.fileno(), sys.stderr.fileno()
    except (OSError, ValueError):  # streams that are no files
        with contextlib.redirect_stdout(sys.stderr):
            yield
        return
    sys.stdout.flush()
    kept = os.dup(out)
    os.dup2(err, out)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, out)
        os.close(kept)


def _finite(data: Any) -> Any:
    match data:
        case float():
            return data if data - data == 0 else None
        case dict():
            return {str(key): _finite(value) for key, value in data.items()}
        case list() | tuple():
            return [_finite(value) for value in data]
    return data
