"""The guide of the surrogate: what it asks of the workers, and what it need not ask again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from search_support import prepared, resolved, untrained

from compressor.engine.plan import Plan
from compressor.errors import Refusal
from compressor.recipe.model import SearchSpec
from compressor.search.clock import Clock
from compressor.search.guide import Modelled
from compressor.search.questions import LookedAt


class Asked:
    """A planner to which every plan comes to one of few: an edit of ``a`` beyond the second changes nothing."""

    def __init__(self, lost: float | None) -> None:
        self.kinds: Counter[str] = Counter()
        self.looked: list[str] = []
        self._lost = lost

    def answers(self, plans: Sequence[Plan], about: Any) -> list[Any]:
        return [self._answer(plan, about) for plan in plans]

    def _answer(self, plan: Plan, about: Any) -> Any:
        self.kinds[about.__name__] += 1
        try:
            settled = resolved(plan)
        except Refusal as refusal:
            return refusal
        phase = settled.phases[0]
        settled = replace(settled, phases=(replace(phase, steps=phase.steps[:2]),))
        if about is LookedAt:
            self.looked.append(settled.digest)
            return replace(untrained(settled), lost=self._lost)
        return untrained(settled)


@pytest.mark.parametrize(("lost", "jobs"), [(0.4, 1), (0.4, 4), (None, 1)])
def test_where_looks_train_the_same_edits_are_trained_once(tmp_path: Path, lost: float | None, jobs: int) -> None:
    planner = Asked(lost)
    made = prepared(tmp_path, SearchSpec(sampler="surrogate", jobs=jobs))
    guide = Modelled(made, planner, Clock(made.recipe, tmp_path / "clock"), lambda: False)  # type: ignore[arg-type]
    assert guide.suggest({}, ()) is not None
    most = max(Counter(planner.looked).values())
    if lost is None:  # a look costs no more than asking first would
        assert most > 1
        assert planner.kinds["Sketched"] == 0
    else:
        assert most == 1
        assert planner.kinds["Sketched"] > len(planner.looked)
