"""Run folders of other versions: told from damaged ones, and refused in one line before anything is made of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from compressor.engine.candidate import OUTCOME
from compressor.errors import DamagedFileError, RunFolderError
from compressor.search.result import RESULT
from compressor.stored import Stored

FORMAT: Final = 2
"""Of the files of a run folder: the next number once this version could not read what the last one wrote."""


def check_format(folder: Path, environment: Mapping[str, Any]) -> None:
    """Raise ``RunFolderError`` where another version wrote the folder. ``environment``: empty where that is lost."""
    found = environment.get("format", FORMAT)
    if found == FORMAT and ("format" in environment or not _is_older(folder)):
        return
    version = str(environment.get("compressor", ""))[:40]
    raise RunFolderError(
        f"{folder}: was written by another version of compressor ({version or 'unknown'}), which this one cannot read; "
        f"start a new run: compressor optimize {folder / 'model.pt2'} --recipe {folder / 'recipe.toml'}"
    )


def _is_older(folder: Path) -> bool:
    """Whether a folder from before there were numbers holds files that are whole, and of another kind than today's."""
    return any(_is_of_another_kind(file, stored) for file, stored in _figures(folder))


def _figures(folder: Path) -> Iterator[tuple[Path, Stored[Any]]]:
    yield folder / "result.json", RESULT
    for file in sorted(folder.glob("candidates/*/outcome.json"))[:1]:
        yield file, OUTCOME


def _is_of_another_kind(file: Path, stored: Stored[Any]) -> bool:
    try:
        stored.find(file)
    except DamagedFileError:
        try:
            return isinstance(json.loads(file.read_bytes()), dict)
        except (OSError, ValueError, RecursionError):
            return False
    return False
