"""Everything that can go wrong, as one tree.

    CompressorError
    ├── InputError            the user's input is wrong: one line, exit code 2
    │   ├── ModelFileError    a model file that cannot or must not be loaded
    │   ├── CaptureError      a network that cannot be captured as a graph
    │   ├── RecipeError       a recipe that says something unknown or impossible
    │   ├── DataError         a data set that is missing, damaged or misnamed
    │   ├── PluginError       a plugin that is unknown, broken or misconfigured
    │   ├── ForeignError      a plugin or a function of the user's failed while it ran
    │   └── RunFolderError    a run folder that is missing, busy or not ours
    │       └── DamagedFileError  a file of it that is not what was written
    ├── Refusal               a rewrite that does not apply here, with its reason
    ├── GraphError            an edit that would leave the graph invalid
    ├── ExportError           a network without an ONNX form
    ├── BrokenPromise         a rewrite that did not keep what its plugin promises
    ├── NoAnswer              work in a process of its own that hung or took the process down
    ├── MachineError          the disk is full or the like: nothing is lost, go on when it is not any more
    ├── TrialError            a trial that failed on its own account: not worth a retry
    └── WorkerLost            a trial whose process vanished: worth a retry

Messages are one line each: what is wrong, where, and what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CompressorError(Exception):
    """Root of every error the toolkit raises on purpose."""

    culprit: tuple[str, str] = ("", "")
    """Name of the plugin whose doing it is, and path of the site; empty where it is nobody's, or nowhere."""


class InputError(CompressorError):
    """The user's input is wrong; the message says what, where, and what to do."""


class ModelFileError(InputError):
    """A model file that cannot, or must not, be loaded."""


class CaptureError(InputError):
    """A network that cannot be captured as a graph of modules."""


class RecipeError(InputError):
    """A recipe that names something unknown or asks for the impossible."""


class DataError(InputError):
    """A data set that is missing, damaged, or does not fit the network."""


class PluginError(InputError):
    """A plugin that is unknown, broken, or was given options it does not have."""


class ForeignError(InputError):
    """Code that is not the toolkit's own failed; the message says whose, how, and at which line."""


class RunFolderError(InputError):
    """A run folder that is missing, in use, or was not written by this tool."""


class DamagedFileError(RunFolderError):
    """A file of a run folder that is missing, cannot be read, or is not what was written."""


class Refusal(CompressorError):  # noqa: N818 - a refusal is an answer, not a failure
    """A rewrite does not apply at a site. Raised before the first edit, always with the reason."""

    def __init__(self, reason: str, *, path: str = "") -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.reason = reason
        self.path = path


class GraphError(CompressorError):
    """An edit that would leave the graph invalid."""


class ExportError(CompressorError):
    """A network, or a node of it, that has no ONNX form."""


class BrokenPromise(CompressorError):  # noqa: N818
    """A rewrite changed the network's function more than its plugin promises."""


class NoAnswer(CompressorError):  # noqa: N818
    """Work in a process of its own has no answer: it took too long, or its process ended. The message says how."""


class TrialError(CompressorError):
    """A trial failed on its own account; running it again would fail again."""

    log: bytes = b""
    """What the trial said before."""


class MachineError(CompressorError):
    """The machine failed (no room on the disk): what was under way is run again when the run goes on."""


class WorkerLost(CompressorError):  # noqa: N818
    """A trial's process vanished (killed, out of memory); the same trial may be run again."""

    log: bytes = b""
    """What the trial said before, as far as it is known."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the nearest known name, followed by all of them; for ends of messages."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{hint} (known: {', '.join(names)})" if names else hint
