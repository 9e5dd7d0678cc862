"""What this processor does with products of 8-bit integers.

x86 without VNNI adds pairs of products uint8 · int8 in 16 bits, where they saturate: 2 · 255 · 127 > 32767. With
weights of 7 bits they fit: 2 · 255 · 63 = 32130. With VNNI, and on other architectures, sums have 32 bits.
"""

from __future__ import annotations

import functools
import platform
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")


@functools.cache
def saturates() -> bool:
    """Whether sums of pairs of 8-bit products saturate here; a processor that does not say is taken not to."""
    if platform.machine().lower() not in {"x86_64", "amd64"} or not _CPU_INFO.exists():
        return False
    flags = next((line for line in _CPU_INFO.read_text().splitlines() if line.startswith("flags")), "")
    return bool(flags) and not {"avx512_vnni", "avx_vnni"} & set(flags.split())
