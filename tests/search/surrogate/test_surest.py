"""Plans carried out untrained: from the surest on, as long as they keep what quality may lose."""

from __future__ import annotations

from collections.abc import Sequence

from search_support import BASELINE, metrics

from compressor.engine.candidate import Constraints, Outcome
from compressor.engine.plan import Edit, Phase, Plan
from compressor.engine.untrained import Untrained
from compressor.search.surrogate.answers import Scale, reference_point
from compressor.search.surrogate.looks import Look
from compressor.search.surrogate.surest import MOST, next_step
from compressor.train.spec import TrainingSpec

LIMITS = Constraints(max_drop=0.01, max_size=0.95, max_latency=1.02)
OK = Outcome("complete", metrics(), {"max_drop": -0.01})
WORSE = Outcome("complete", metrics(), {"max_drop": 0.02})


def look(name: str, loss: float, size: int, speedup: float = 1.0, whole: bool = True) -> Look:
    plan = Plan((Phase("p", (Edit("a", name),), TrainingSpec(epochs=4)),))
    return Look({"name": name}, Untrained(plan, whole, loss, size, 1000, 1000, speedup, 0.1))


def digest(found: Look) -> str:
    assert found.found is not None
    return found.found.plan.untrained().digest


def walk(looks: Sequence[Look], ended: dict[str, Outcome], running: Sequence[str] = ()) -> str:
    step = next_step(looks, Scale(BASELINE, 0.001), reference_point(LIMITS, 0.01), ended, running)
    return "" if step is None else str(step.values["name"])


SURE, SMALLER, FASTEST = look("sure", 0.30, 900), look("smaller", 0.35, 300), look("fastest", 0.9, 250, 2.0)
ALL = [
    look("too slow", 0.01, 500, 0.5), look("too large", 0.02, 990), FASTEST, look("loses more for less", 0.5, 800),
    SMALLER, look("decides while it runs", 0.1, 100, whole=False), SURE,
]  # fmt: skip


def test_each_step_loses_more_and_gains_more_until_one_loses_too_much() -> None:
    ended: dict[str, Outcome] = {}
    assert walk(ALL, ended) == "sure"
    ended[digest(SURE)] = OK
    assert walk(ALL, ended) == "smaller"
    assert walk(ALL, {**ended, digest(SMALLER): WORSE}) == ""
    assert walk(ALL, {**ended, digest(SMALLER): Outcome("failed", reason="no")}) == ""
    assert walk(ALL, {**ended, digest(SMALLER): Outcome("screened", metrics(), {"max_latency": 0.1})}) == "fastest"
    assert walk(ALL, {**ended, digest(SMALLER): OK, digest(FASTEST): OK}) == ""
    assert walk([], {}) == ""


def test_a_step_waits_for_the_one_before_it() -> None:
    assert walk(ALL, {}, running=[digest(SURE)]) == ""


def test_trained_plans_are_others_than_untrained_ones() -> None:
    assert SURE.found is not None
    assert walk(ALL, {SURE.found.plan.digest: WORSE}) == "sure"


def test_of_many_steps_few_are_tried_the_first_and_the_last_among_them() -> None:
    looks = [look(str(index), 0.1 + 0.01 * index, 900 - 10 * index) for index in range(30)]
    ended: dict[str, Outcome] = {}
    tried = []
    while name := walk(looks, ended):
        tried.append(name)
        ended[digest(looks[int(name)])] = OK
    assert (len(tried), tried[0], tried[-1]) == (MOST, "0", "29")
