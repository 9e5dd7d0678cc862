"""The study's database: SQLite in one file, opened by its path and never by a URL, in which ``?``, ``%`` and ``{`` mean
something. What SQLite says of a damaged, locked or full database comes out as an error that a user can act on.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from compressor.errors import RunFolderError

_TIMEOUT_SECONDS = 60
_MACHINE = ("disk is full", "disk i/o error", "readonly database", "out of memory")
"""What SQLite says where not the file but the machine is at fault."""


def open_storage(file: Path) -> optuna.storages.RDBStorage:
    """SQLite with a write-ahead log: readers and a killed writer do no harm. Raises what SQLite raises."""
    with closing(_connection(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    return optuna.storages.RDBStorage(
        "sqlite://",
        engine_kwargs={"creator": lambda: _connection(file), "poolclass": sqlalchemy.pool.QueuePool},
    )


def is_damaged(file: Path) -> bool:
    """Whether there is something at ``file`` that SQLite cannot make sense of; it is not changed."""
    if not file.exists():
        return False
    try:
        with closing(_connection(file)) as connection:
            return bool(connection.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",))
    except sqlite3.DatabaseError as error:
        return not _is_machine(error) and "locked" not in str(error)


def set_aside(file: Path) -> Path:
    """Rename the database, so that a new one can take its place; returns where it lies now."""
    kept = file.with_name(f"{file.stem}.damaged{file.suffix}")
    number = 1
    while kept.exists():
        number += 1
        kept = file.with_name(f"{file.stem}.damaged-{number}{file.suffix}")
    file.rename(kept)
    for extra in ("-wal", "-shm"):  # belong to the file that is gone, and would spoil the new one
        with suppress(FileNotFoundError):
            file.with_name(file.name + extra).rename(kept.with_name(kept.name + extra))
    return kept


@contextmanager
def storage_errors(file: Path) -> Iterator[None]:
    """What the storage raises within becomes ``OSError`` (the machine) or ``RunFolderError`` (the file)."""
    try:
        yield
    except (sqlite3.Error, SQLAlchemyError, StorageInternalError) as error:
        reason = " ".join(str(_root(error)).split())
        if _is_machine(_root(error)):
            number = errno.ENOSPC if "full" in reason else errno.EIO
            raise OSError(number, f"{reason}; nothing is lost: resume goes on when it is mended", str(file)) from None
        raise RunFolderError(
            f"{file}: the study cannot be used ({reason}); close what else has it open, or move it away: "
            "resume then begins a new study, and no trial that ended is run again"
        ) from None


def _connection(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=_TIMEOUT_SECONDS, check_same_thread=False)
    # Written in order but not waited for: a power cut may take the last trials from the study, not their outcomes.
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def _root(error: BaseException) -> BaseException:
    """What SQLite itself said, below what SQLAlchemy and Optuna made of it."""
    below = getattr(error, "orig", None) or error.__cause__
    return error if below is None else _root(below)


def _is_machine(error: BaseException) -> bool:
    return any(words in str(error).lower() for words in _MACHINE)
