"""The planner asks each question once, and again only what a lost worker or a faulty site left open."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from search_support import SPACE, prepared, resolved

from compressor.engine.plan import Plan
from compressor.errors import CompressorError, NoAnswer, Refusal, WorkerLost
from compressor.recipe.model import SearchSpec
from compressor.search.executor import Question
from compressor.search.observer import Silent
from compressor.search.planning import Planner
from compressor.search.questions import Resolved

ONE = SPACE.plan({"p.a": True, "p.a.count": 1, "p.b": False})
TWO = SPACE.plan({"p.a": True, "p.a.count": 2, "p.b": False})
NOTHING = SPACE.plan({"p.a": False, "p.b": False})


class Answering:
    """An executor that only answers: first the ``troubles``, then what plans come to."""

    slots = 2

    def __init__(self, troubles: Sequence[CompressorError] = ()) -> None:
        self.asked: list[Plan] = []
        self._troubles = list(troubles)

    def ask(self, question: Question) -> Future[Any]:
        self.asked.append(question.about.plan)
        future: Future[Any] = Future()
        try:
            if self._troubles:
                raise self._troubles.pop(0)
            future.set_result(resolved(question.about.plan))
        except CompressorError as error:
            future.set_exception(error)
        return future


def planner(folder: Path, executor: Any, cancelled: bool = False) -> Planner:
    made = prepared(folder, SearchSpec())
    return Planner(made.recipe, executor, Silent(), failed={}, cancelled=lambda: cancelled)


def test_answers_and_refusals_are_kept(tmp_path: Path) -> None:
    executor = Answering()
    asking = planner(tmp_path, executor)
    for _ in range(3):
        one, refused, two = asking.answers([ONE, NOTHING, TWO], Resolved)
        assert (len(one.edits), len(two.edits)) == (1, 2)
        assert isinstance(refused, Refusal)
    assert executor.asked == [ONE, NOTHING, TWO]


def test_a_lost_worker_is_asked_again_unless_the_user_is_leaving(tmp_path: Path) -> None:
    assert planner(tmp_path, Answering([WorkerLost("gone")])).answer(ONE, Resolved) == resolved(ONE)
    (lost,) = planner(tmp_path, Answering(), cancelled=True).answers([ONE], Resolved)
    assert isinstance(lost, WorkerLost)


def test_a_site_at_which_a_plugin_fails_is_left_alone_from_then_on(tmp_path: Path) -> None:
    error = NoAnswer("plugin 'a', site x: took too long")
    error.culprit = "a", "x"
    executor = Answering([error])
    asking = planner(tmp_path, executor)
    asking.answers([ONE, TWO], Resolved)
    spared = ONE.without({"a": ["x"]})
    assert executor.asked[-1] == spared
    asking.answer(ONE, Resolved)
    assert executor.asked.count(spared) == 1
