"""Reading a zip archive that nobody trusts: entries by name, stored as they are, never more bytes than the file has.

torch writes weights and graphs without compression. Compressed, repeated or overlapping entries are somebody else's
work and are refused, so that what is read can never be larger than the file.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from compressor.errors import ModelFileError

MAX_FILE: Final = 8 * 2**30
"""Bytes of the largest model file that is opened."""
MAX_JSON: Final = 64 * 2**20
"""Bytes of the largest description of a graph that is parsed: some 50,000 operations."""
MAX_ENTRIES: Final = 200_000
_CHUNK: Final = 2**24


class Archive:
    """The entries below the archive's root folder. Raises ``ModelFileError`` for whatever is not as it should be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        size = path.stat().st_size
        if size > MAX_FILE:
            raise ModelFileError(
                f"{path}: {size / 2**30:.1f} GiB; model files of up to {MAX_FILE // 2**30} GiB are read"
            )
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, NotImplementedError, OSError) as error:
            raise ModelFileError(f"{path}: a damaged or truncated archive ({error}); save or copy it again") from None
        self.entries = self._checked(self._zip.infolist(), size)

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    def _checked(self, infos: list[zipfile.ZipInfo], size: int) -> dict[str, zipfile.ZipInfo]:
        if not infos or len(infos) > MAX_ENTRIES:
            raise ModelFileError(f"{self.path}: an archive of {len(infos)} entries is no model")
        root = infos[0].filename.partition("/")[0] + "/"
        entries = {info.filename.removeprefix(root): info for info in infos if info.filename.startswith(root)}
        if len(entries) != len(infos):
            raise ModelFileError(f"{self.path}: an archive with repeated or stray entries; save it again with torch")
        self._refuse_overlap(infos, size)
        return entries

    def _refuse_overlap(self, infos: list[zipfile.ZipInfo], size: int) -> None:
        end = 0
        for info in sorted(infos, key=lambda info: info.header_offset):
            if info.header_offset < end:
                raise ModelFileError(f"{self.path}: an archive whose entries overlap; it was not written by torch")
            end = info.header_offset + info.compress_size
        if end > size:
            raise ModelFileError(f"{self.path}: a truncated archive; save or copy it again")

    def refuse_compressed(self) -> None:
        """Raise ``ModelFileError`` where an entry would unpack to more than it takes in the file."""
        if any(_is_packed(info) for info in self.entries.values()):
            raise ModelFileError(f"{self.path}: a compressed archive; torch writes them uncompressed, save it again")

    def read(self, name: str) -> bytearray:
        """The bytes of an entry. Compressed ones are refused."""
        info = self.entries.get(name)
        if info is None:
            raise ModelFileError(f"{self.path}: the archive lacks {name}; save or copy it again")
        if _is_packed(info):
            self.refuse_compressed()
        content, count = bytearray(info.file_size), 0
        try:
            with self._zip.open(info) as file:
                while part := file.read(_CHUNK):  # the last one compares the checksum
                    content[count : count + len(part)] = part
                    count += len(part)
        except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError) as error:
            raise ModelFileError(f"{self.path}: {name} is damaged ({error}); save or copy it again") from None
        if count != info.file_size:
            raise ModelFileError(f"{self.path}: {name} is truncated; save or copy it again")
        return content

    def text(self, name: str) -> str:
        """A short entry of plain words, without the space around them."""
        info = self.entries.get(name)
        if info is None or info.file_size > 1024:
            return ""
        return self.read(name).decode("ascii", "replace").strip()

    def json(self, name: str) -> Any:
        """An entry parsed as JSON."""
        info = self.entries.get(name)
        if info is not None and info.file_size > MAX_JSON:
            raise ModelFileError(f"{self.path}: {name} is longer than {MAX_JSON >> 20} MiB, too long for a network")
        try:
            return json.loads(self.read(name))
        except (ValueError, RecursionError) as error:
            raise ModelFileError(f"{self.path}: {name} is not valid JSON ({str(error)[:100]})") from None


def _is_packed(info: zipfile.ZipInfo) -> bool:
    encrypted = info.flag_bits & 1
    return info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or bool(encrypted)
