"""What a trial is given and what it wrote, as named byte strings: files of one folder, on whatever machine that is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from compressor.engine.candidate import Outcome
from compressor.engine.trial import read_outcome
from compressor.files import write_atomic
from compressor.search.executor import JobResult

GIVEN = "given"
"""Folder within a trial's that holds what was given with it."""
LOG = "log.txt"
_OUTCOME = "outcome.json"


def unpack(given: Mapping[str, bytes], folder: Path) -> None:
    """Write named byte strings to files of ``folder``; a name may lead into folders below it."""
    for name, data in given.items():
        write_atomic(folder / name, data)


def pack(folder: Path, outcome: Outcome | None = None) -> JobResult:
    """What a trial left in ``folder``. Raises ``DamagedFileError`` where that is not what it wrote."""
    found = read_outcome(folder) if outcome is None else outcome
    names = sorted(file.name for file in folder.iterdir() if file.is_file() and file.name != _OUTCOME)
    return JobResult(found, {name: (folder / name).read_bytes() for name in names if not name.startswith(".")})


def log_of(folder: Path) -> bytes:
    """What a trial has said so far."""
    file = folder / LOG
    return file.read_bytes() if file.is_file() else b""
