"""Which widths a group of channels can have, and which of its units stay for one of them.

Units of one size are interchangeable, so a width says how many of each size stay: the same share of every size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

from compressor_plugins.magnitude_prune.groups import Group


def widths(group: Group, block: int) -> list[int]:
    """Widths below the present one, ascending: multiples of ``block``, or where none is one, steps of a block."""
    every = sorted(width for width in _counts(group) if width < group.width)
    if block <= 1:
        return every
    whole = [width for width in every if width % block == 0]
    if whole:
        return whole
    steps, last = [], group.width
    for width in reversed(every):
        if last - width >= block:
            steps.append(width)
            last = width
    return steps[::-1]


def why_no_width(group: Group, block: int) -> str:
    """Why there is none."""
    if group.width <= max(block, 1):
        return (
            f"has {group.width} channels, and fewer than {block} run no faster (option block)"
            if block > 1
            else ("has one channel")
        )
    most = group.width - min(_counts(group), default=group.width)
    return f"can lose {most} of {group.width} channels, less than a block of {block} (option block)"


def chosen(group: Group, scores: Sequence[float], width: int) -> list[int]:
    """Numbers of the units of highest score that stay for ``width``, of equals the first; none needed is missing."""
    order = sorted(range(len(scores)), key=lambda unit: -scores[unit])
    kept: set[int] = set()
    for row in group.needed:
        if not row & kept:
            kept.add(next(unit for unit in order if unit in row))
    for size, count in _counts(group)[width].items():
        alike = [unit for unit in order if len(group.units[unit]) == size]
        missing = count - len(kept.intersection(alike))
        kept.update([unit for unit in alike if unit not in kept][: max(missing, 0)])
    return sorted(kept)


def _counts(group: Group) -> Mapping[int, Mapping[int, int]]:
    """Width → how many units of each size stay."""
    sizes = Counter(map(len, group.units))
    return _shares(tuple(sorted(sizes.items())), group.fixed, max(len(group.needed), 1))


@lru_cache(maxsize=512)  # a plan asks for the widths of every group with every edit
def _shares(sizes: tuple[tuple[int, int], ...], fixed: int, least: int) -> Mapping[int, Mapping[int, int]]:
    most = max(number for _, number in sizes)
    found: dict[int, dict[int, int]] = {}
    for share in range(1, most + 1):
        counts = {size: round(share * number / most) for size, number in sizes}
        if sum(counts.values()) >= least:
            found.setdefault(fixed + sum(size * count for size, count in counts.items()), counts)
    return found
