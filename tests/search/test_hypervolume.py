"""Hypervolume against counting cells, and what one more point adds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.search.hypervolume import hypervolume, improvements

SIDE = 5
CELLS = np.array(list(itertools.product(range(SIDE), repeat=3)))
POINTS = st.lists(st.tuples(*[st.integers(0, SIDE + 1)] * 3), max_size=6)


def counted(points: list[tuple[int, ...]]) -> int:
    """Unit cells below the reference (SIDE, SIDE, SIDE) whose lower corner some point dominates."""
    return sum(any(all(p <= c for p, c in zip(point, cell, strict=True)) for point in points) for cell in CELLS)


@given(POINTS)
def test_it_is_the_number_of_dominated_cells(points: list[tuple[int, ...]]) -> None:
    assert hypervolume(points, (SIDE,) * 3) == counted(points)


@given(POINTS, st.lists(st.tuples(*[st.integers(0, SIDE + 1)] * 3), min_size=1, max_size=4))
def test_an_improvement_is_the_difference_one_point_makes(
    front: list[tuple[int, ...]], new: list[tuple[int, ...]]
) -> None:
    array = np.array(new, dtype=float)
    gains = improvements(front, array[:, :1], array[:, 1:], (SIDE,) * 3)
    for gain, point in zip(gains[:, 0], new, strict=True):
        assert gain == pytest.approx(counted([*front, point]) - counted(front))


def test_several_values_of_the_first_objective_are_weighed_at_once() -> None:
    first, others = np.array([[0.0, 2.0, 9.0]]), np.array([[1.0, 1.0]])
    assert improvements([(1, 1, 1)], first, others, (3, 3, 3)).tolist() == [[4.0, 0.0, 0.0]]
