"""Files that are whole or absent: written beside their place, flushed to disk, then renamed.

Every byte goes through Python's own files: a library that meets a full disk in C++ may end the process.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

_MACHINE = frozenset(
    number
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS", "EMFILE", "ENFILE", "ENOMEM")
    if (number := getattr(errno, name, None)) is not None
)


def is_machine_s(error: BaseException) -> bool:
    """Whether it is the machine that failed, not the work: no room on the disk, no more open files."""
    return isinstance(error, OSError) and error.errno in _MACHINE


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write ``content`` so that ``path`` holds either its old state or all of the new one, even after a kill.

    Raises ``OSError``, and then ``path`` is what it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".writing.", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with open(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):  # the user knows the file by its own name
            error.filename, error.filename2 = str(path), None
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
