"""The JSON files of a run folder: one reader for all of them. A file is what was written, or it is damaged.

What is read is held against its type, strictly, and then against what would be written for it: a missing key, another
type, a figure that was made up by a default are all seen. Figures that are no numbers survive: JSON has no NaN and no
infinity, so they are written as text.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BeforeValidator, PlainSerializer, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from compressor.errors import DamagedFileError
from compressor.files import write_atomic

T = TypeVar("T")

_LARGEST = 1 << 28
_NO_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _written(value: float) -> float | str:
    if math.isfinite(value):
        return float(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _read(value: Any) -> Any:
    return _NO_NUMBERS.get(value, value) if isinstance(value, str) else value


Figure = Annotated[float, PlainSerializer(_written, when_used="json"), BeforeValidator(_read)]
"""A measured number, which may be NaN or infinite: it is what it was when its file is read back."""


class Stored(Generic[T]):
    """Files that hold one ``kind`` of plain data.

    ``complete``: every key must be there; files of an older version, which lack one, count as damaged then.
    """

    def __init__(self, kind: Any, *, complete: bool = True) -> None:
        self.kind = kind
        self._adapter: TypeAdapter[T] = TypeAdapter(kind)
        self._complete = complete

    def to_json(self, value: T) -> bytes:
        return self._adapter.dump_json(value, indent=1)

    def plain(self, value: T) -> Any:
        """What the file would hold, as plain data."""
        return self._adapter.dump_python(value, mode="json")

    def from_json(self, text: str | bytes) -> T:
        """Raises ``ValueError`` for text that is no JSON or was not written for this kind."""
        try:
            value = self._adapter.validate_json(text, strict=True)
            if self._complete and json.loads(text) != self.plain(value):
                raise ValueError("keys are missing, or there are too many")
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from None
        except (RecursionError, PydanticSerializationError) as error:
            raise ValueError(str(error)) from None
        return value

    def from_plain(self, plain: Any) -> T:
        """What ``plain`` was made from. Raises ``ValueError``."""
        return self.from_json(json.dumps(plain))

    def write(self, file: Path, value: T) -> None:
        write_atomic(file, self.to_json(value))

    def read(self, file: Path) -> T:
        """Raises ``DamagedFileError`` for a file that is missing or is not what was written."""
        return self._parse(file, content(file))

    def find(self, file: Path) -> T | None:
        """The same; None where there is no such file."""
        return self.read(file) if is_there(file) else None

    def _parse(self, file: Path, text: bytes) -> T:
        try:
            return self.from_json(text)
        except ValueError as error:
            what = "is empty" if not text else f"is damaged ({' '.join(str(error).split())[:200]})"
            raise DamagedFileError(f"{file}: {what}") from None


def whole_lines(file: Path, adapter: TypeAdapter[T]) -> Iterator[T]:
    """What the lines of a file that grows hold, as far as they are whole; nothing where there is no file."""
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            yield adapter.validate_json(line)
        except ValueError:  # the process was killed while it wrote
            continue


def is_there(file: Path) -> bool:
    """Whether there is anything at all under this name. Raises ``DamagedFileError`` where that cannot be told."""
    try:
        return file.exists() or file.is_symlink()
    except OSError as error:
        raise DamagedFileError(f"{file}: cannot be read ({error.strerror})") from None


def content(file: Path) -> bytes:
    """All bytes of a file. Raises ``DamagedFileError`` where there is none, or it cannot be read."""
    try:
        if file.exists() and not file.is_file():
            raise DamagedFileError(f"{file}: is no file; move it away")
        if file.stat().st_size > _LARGEST and file.suffix == ".json":
            raise DamagedFileError(f"{file}: is damaged (larger than {_LARGEST >> 20} MiB)")
        return file.read_bytes()
    except FileNotFoundError:
        raise DamagedFileError(f"{file}: is missing") from None
    except OSError as error:
        raise DamagedFileError(f"{file}: cannot be read ({error.strerror})") from None


def digest_of(data: bytes) -> str:
    """What ties figures to the bytes they were measured on: SHA-256, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digests_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The digests of files of a folder, by name."""
    return {name: digest_of(content(folder / name)) for name in sorted(names)}


def check_digests(folder: Path, digests: Mapping[str, str]) -> None:
    """Raises ``DamagedFileError`` for the first file that is missing or holds other bytes."""
    for name, digest in digests.items():
        if Path(name).name != name or digest_of(content(folder / name)) != digest:
            raise DamagedFileError(f"{folder / name}: is damaged (it holds other bytes than were written)")
