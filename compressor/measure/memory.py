"""How much memory a piece of work takes at its peak, as the system sees it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

R = TypeVar("R")
_STATUS = Path("/proc/self/status")


def with_peak(work: Callable[[], R]) -> tuple[R, int | None]:
    """What ``work`` returns, and the bytes by which this process's resident memory rises at most meanwhile.

    None where nobody counts: Linux alone does. What the process has freed and not given back is used again unseen:
    measure in a process that has done nothing large before.
    """
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten (proc(5))
    before = _kilobytes("VmRSS")
    result = work()
    peak = _kilobytes("VmHWM")
    return result, None if before is None or peak is None else max(peak - before, 0) * 1024


def _kilobytes(name: str) -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)
