from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from search_support import BASELINE, candidate

from compressor.engine.candidate import Constraints
from compressor.search.front import best_first, dominates, finalists, non_dominated, objective_values, pareto_front

points = st.lists(st.tuples(*[st.integers(0, 5)] * 3), max_size=20)
ALL = ("quality", "size", "latency")


@given(points)
def test_the_front_is_what_nothing_dominates(cloud: list[tuple[int, ...]]) -> None:
    front = [cloud[index] for index in non_dominated(cloud)]
    assert not any(dominates(left, right) for left in front for right in front)
    assert all(point in front or any(dominates(best, point) for best in front) for point in cloud)
    assert len(set(front)) == len(front)


@given(points)
def test_the_front_does_not_depend_on_order(cloud: list[tuple[int, ...]]) -> None:
    front = {cloud[index] for index in non_dominated(cloud)}
    turned = cloud[::-1]
    assert {turned[index] for index in non_dominated(turned)} == front


def test_objectives_are_better_when_less() -> None:
    better = candidate(0.95, 250, 2.0)
    assert all(value < 0 for value in objective_values(better.metrics, BASELINE, ("size", "latency")))
    assert objective_values(better.metrics, BASELINE, ALL) < objective_values(BASELINE, BASELINE, ALL)


def test_only_the_named_objectives_count() -> None:
    small, fast = candidate(0.9, 100, 1.0), candidate(0.9, 900, 3.0)
    assert pareto_front([small, fast], BASELINE, ALL) == [small, fast]
    assert pareto_front([small, fast], BASELINE, ("size",)) == [small]


def ranked(*candidates: object, limit: float | None = 0.02, samples: int = 10_000) -> list[object]:
    share = BASELINE.quality.validation
    base = replace(BASELINE, quality=replace(BASELINE.quality, error=math.sqrt(share * (1 - share) / samples)))
    return list(best_first(candidates, base, Constraints(max_drop=limit)))  # type: ignore[arg-type]


def test_the_best_has_the_smallest_product_of_size_and_time() -> None:
    small, fast = candidate(0.9, 200, 1.0), candidate(0.9, 400, 4.0)
    assert ranked(small, fast) == [fast, small]


def test_smaller_and_not_slower_comes_before_the_product() -> None:
    tiny_and_slow, modest = candidate(0.9, 50, 0.5), candidate(0.9, 800, 1.0)
    assert ranked(tiny_and_slow, modest)[0] is modest


def test_a_margin_of_one_standard_error_is_preferred() -> None:
    on_the_limit, within = candidate(0.881, 100), candidate(0.89, 300)
    assert ranked(on_the_limit, within)[0] is within
    assert ranked(on_the_limit, within, samples=10**9)[0] is on_the_limit


def test_what_loses_more_than_the_limit_comes_last() -> None:
    useless, good = candidate(0.1, 10, 9.0), candidate(0.895, 700)
    assert ranked(useless, good)[0] is good


def test_finalists_hold_the_best_and_the_extremes() -> None:
    front = ranked(*(candidate(0.9 - 0.001 * i, 600 - 50 * i, 1.0) for i in range(8)), candidate(0.88, 900, 3.0))
    chosen = finalists(front, BASELINE, ALL, 4)  # type: ignore[arg-type]
    assert len(chosen) == 4
    assert chosen[0] is front[0]
    for extreme in (
        max(front, key=lambda c: c.quality.validation),  # type: ignore[attr-defined]
        min(front, key=lambda c: c.size_bytes),  # type: ignore[attr-defined]
        max(front, key=lambda c: c.latency.speedup),  # type: ignore[attr-defined]
    ):
        assert extreme in chosen
    assert finalists([], BASELINE, ALL, 4) == []
    assert finalists(front, BASELINE, ALL, 1) == [front[0]]  # type: ignore[arg-type]
