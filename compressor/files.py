"""Files that are whole or absent: written beside their place, flushed to disk, then renamed."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write ``content`` so that ``path`` holds either its old state or all of the new one, even after a kill."""
    data = content.encode() if isinstance(content, str) else content

    def put(temporary: Path) -> None:
        temporary.write_bytes(data)

    save_atomic(path, put)


def save_atomic(path: Path, save: Callable[[Path], None]) -> None:
    """Like ``write_atomic`` for writers that want a file name of their own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        save(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def require_regular(path: Path, kind: type[Exception]) -> None:
    """Raise ``kind`` where ``path`` is no file that can be read to its end: a folder, a pipe, a device, or nothing."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise kind(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise kind(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if not stat.S_ISREG(mode):
        raise kind(f"{path}: is {'a folder' if stat.S_ISDIR(mode) else 'a pipe or a device'} and no file")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
