"""Images that lie inside a table, laid out as files of the cache, so that they are read like all others.

A cell is an image where it holds bytes, or a structure of ``bytes`` and ``path`` as Hugging Face's tables have it. What
has been laid out stays as long as the table does not change, and is used again.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from compressor.data.cache import cache_folder
from compressor.errors import DataError


class Unpacked:
    """The cells of one table."""

    def __init__(self, table: Path) -> None:
        state = table.stat()
        known = f"{table.absolute()} {state.st_size} {state.st_mtime_ns}"
        self._folder = cache_folder() / "unpacked" / hashlib.sha256(known.encode()).hexdigest()[:16]

    def cell(self, column: int, row: int, value: Any) -> Any:
        """The file of an image that lies in the table, or the name of one; every other value as it is.

        Raises ``DataError`` where the cache cannot be written.
        """
        if isinstance(value, dict) and {"bytes", "path"} <= value.keys():
            value = value["bytes"] or value["path"]
        return self._laid_out(f"{column}-{row:08}", value) if isinstance(value, bytes) else value

    def _laid_out(self, name: str, content: bytes) -> Path:
        file = self._folder / name
        if not file.is_file() or file.stat().st_size != len(content):
            part = self._folder / f"{name}.{os.getpid()}.part"
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                part.write_bytes(content)
                part.replace(file)
            except OSError as error:
                raise DataError(
                    f"the images of a table cannot be laid out in {self._folder} ({error.strerror}); "
                    "COMPRESSOR_DATA names another folder"
                ) from None
        return file
