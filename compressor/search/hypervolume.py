"""Hypervolume in three objectives, less is better: how much of the space below a reference point a front dominates.

A study with fewer objectives gives the others a constant one below the reference, and has its own hypervolume.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compressor.search.floats import Floats


def hypervolume(points: Floats | Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    """Volume that ``points`` ``(N, 3)`` dominate below ``reference``; points beyond it add nothing."""
    levels, areas = slices(points, reference)
    return float(np.sum(np.diff(np.append(levels, reference[0])) * areas))


def slices(points: Floats | Sequence[Sequence[float]], reference: Sequence[float]) -> tuple[Floats, Floats]:
    """The dominated volume sliced along the first objective.

    Levels ``(S,)``, ascending, and the area dominated in the other two between each level and the next.
    """
    inside = _inside(points, reference)
    order = inside[np.argsort(inside[:, 0], kind="stable")]
    areas = [_area(order[: index + 1, 1:], reference[1:]) for index in range(len(order))]
    return order[:, 0], np.array(areas)


def improvements(
    front: Floats | Sequence[Sequence[float]], first: Floats, others: Floats, reference: Sequence[float]
) -> Floats:
    """By how much a point alone would enlarge the hypervolume of ``front``, for several values of its first objective.

    ``first`` ``(M, S)``: S values each of M points; ``others`` ``(M, 2)``: their other objectives. Returns ``(M, S)``.
    """
    inside = _inside(front, reference)
    levels = np.unique(inside[:, 0])
    edges = np.append(levels, reference[0])
    gains = np.zeros(first.shape)
    for index, (second, third) in enumerate(others):
        if second >= reference[1] or third >= reference[2]:
            continue
        below = -np.inf
        for level in edges:  # between two levels the same points of the front count
            depth = np.clip(level - np.maximum(first[index], below), 0.0, None)
            if depth.any():
                gains[index] += depth * _added_area(inside[inside[:, 0] <= below, 1:], second, third, reference[1:])
            below = level
    return gains


def _inside(points: Floats | Sequence[Sequence[float]], reference: Sequence[float]) -> Floats:
    array = np.asarray(points, dtype=np.float64).reshape(-1, 3)
    return array[np.all(array < np.asarray(reference, dtype=np.float64), axis=1)]


def _area(points: Floats, reference: Sequence[float]) -> float:
    """Area that ``points`` ``(N, 2)`` dominate below ``reference``."""
    total, ceiling = 0.0, reference[1]
    for x, y in points[np.lexsort((points[:, 1], points[:, 0]))]:
        if y < ceiling:
            total += (reference[0] - x) * (ceiling - y)
            ceiling = y
    return total


def _added_area(points: Floats, x: float, y: float, reference: Sequence[float]) -> float:
    """Area that ``(x, y)`` dominates and none of ``points`` does."""
    clipped = np.maximum(points, (x, y))
    return (reference[0] - x) * (reference[1] - y) - _area(clipped, reference)
