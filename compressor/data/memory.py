"""How much memory a machine has, and how much of it the images may take."""

from __future__ import annotations

import os
from pathlib import Path

_CONTAINER = Path("/sys/fs/cgroup/memory.max")
_UNKNOWN = 8 << 30


def machine_memory() -> int:
    """Bytes of memory: the machine's, or the container's where that is less."""
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        physical = _UNKNOWN
    try:
        return min(physical, int(_CONTAINER.read_text()))
    except (OSError, ValueError):
        return physical


def budget(memory: int | float) -> int:
    """Bytes that ``memory`` allows: a share of the machine's (float), or a number of MiB (int)."""
    return int(memory * machine_memory()) if isinstance(memory, float) else memory << 20
