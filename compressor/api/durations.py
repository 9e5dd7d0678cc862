"""Times as people write them."""

from __future__ import annotations

import re

from compressor.errors import InputError

_LONGEST = 1e8


def seconds_of(given: str | float | None, what: str = "budget") -> float | None:
    """``1h30m``, or a number of seconds, in seconds; None for nothing. Raises ``InputError``."""
    if given is None or given == "":
        return None
    if isinstance(given, str):
        found = re.fullmatch(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s)?", given.strip().lower().replace(" ", ""))
        parts = found.groups() if found else ()
        seconds = float(sum(int(part or 0) * unit for part, unit in zip(parts, (3600, 60, 1), strict=False)))
    else:
        seconds = float(given)
    if not 0 < seconds <= _LONGEST:
        raise InputError(f"{what} {str(given)[:60]}: expected a time such as 90s, 30m or 1h30m")
    return seconds
