"""A budget over all sessions of a run: when trials end, what is kept for the end, and who is late."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from search_support import BASELINE, SMALL, Scripted, figures
from test_loop import Session

from compressor.data.spec import DataSpec
from compressor.engine.candidate import Constraints, Outcome
from compressor.errors import WorkerLost
from compressor.recipe.model import MeasureSpec, Recipe, SearchSpec
from compressor.search.clock import FINALIST, SPENT, Clock, Spent
from compressor.search.executor import TrialSpec
from compressor.search.observer import Note


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def recipe(budget: float) -> Recipe:
    return Recipe(DataSpec(name="digits"), search=SearchSpec(trials=0, budget=budget), measure=MeasureSpec(finalists=3))


def test_trials_begin_while_they_will_end_before_the_final_measurement(tmp_path: Path) -> None:
    time = Time()
    clock = Clock(recipe(1000), tmp_path / "clock.json", now=time)
    clock.note_trial(80)
    clock.note_trial(120)
    assert clock.for_trials == 1000 - 4 * FINALIST
    time.now += 1000 - 4 * FINALIST - 100
    assert clock.allows_trial()
    time.now += 1
    assert not clock.allows_trial()
    assert not clock.is_overdue()
    time.now += 100 + 50
    assert clock.is_overdue()
    assert clock.left > 0


def test_a_small_budget_keeps_a_quarter_for_the_end(tmp_path: Path) -> None:
    assert Clock(recipe(100), tmp_path / "clock.json").for_trials == pytest.approx(75, abs=1)


def test_sessions_add_up_and_a_new_budget_counts_from_now(tmp_path: Path) -> None:
    file, time = tmp_path / "clock.json", Time()
    first = Clock(recipe(1000), file, now=time)
    time.now += 400
    first.save()
    time.now += 5000  # nobody works
    assert Clock(recipe(1000), file, SPENT.read(file), now=time).left == 600
    assert Clock(recipe(1000), file, SPENT.read(file), more=50, now=time).left == 50
    assert Clock(recipe(0), file, Spent(400, math.inf), more=50, now=time).left == 50
    assert Clock(recipe(1000), file, now=time, since=time.now - 30).left == 970


def test_a_session_that_is_killed_has_taken_its_time_too(tmp_path: Path) -> None:
    file, time = tmp_path / "clock.json", Time()
    clock = Clock(recipe(0), file, Spent(400, math.inf), now=time)
    clock.keep_up()
    assert not file.exists(), "nothing has passed yet"
    time.now += 3600  # one trial, which does not end
    clock.keep_up()
    assert SPENT.read(file) == Spent(4000, math.inf)
    file.unlink()
    file.mkdir()  # it cannot be written
    time.now += 3600
    clock.keep_up()
    assert clock.shown == 7600


def test_without_a_budget_nothing_is_late(tmp_path: Path) -> None:
    time = Time()
    clock = Clock(recipe(0), tmp_path / "clock.json", now=time)
    clock.note_trial(1e6)
    time.now += 1e9
    assert clock.allows_trial()
    assert clock.allows_measuring()
    assert clock.allows(1e9)
    assert not clock.is_overdue()


def test_the_search_ends_when_its_time_is_over_and_says_so(tmp_path: Path) -> None:
    time = Time()
    search = SearchSpec(trials=0, budget=1000.0)

    class Slow(Scripted):
        def release(self) -> None:
            time.now += 200
            super().release()

    clock = Clock(recipe(1000), tmp_path / "clock.json", now=time)
    clock.expect(200)
    session = Session(tmp_path, search, clock=clock)
    clock.note_trial = lambda seconds: Clock.note_trial(clock, 200)  # type: ignore[method-assign]
    session.run(Slow())
    assert session.ledger.finished == 4
    assert [note.text for note in session.seen.of(Note)][-1].startswith("no time for another trial")  # type: ignore[attr-defined]


def test_a_trial_that_is_late_is_ended_and_proposed_again(tmp_path: Path) -> None:
    time = Time()

    class Hanging(Scripted):
        def submit(self, job, progress=None):  # type: ignore[no-untyped-def]
            time.now += 2000
            return super().submit(job, progress)

        def cancel_all(self) -> None:
            super().cancel_all()
            for future, _ in self.held:
                future.set_exception(WorkerLost("ended"))
            self.held.clear()

    executor = Hanging()
    executor.hold = True
    clock = Clock(recipe(1000), tmp_path / "clock.json", now=time)
    session = Session(tmp_path, SearchSpec(trials=0, budget=1000.0), space=SMALL, clock=clock).run(executor)
    assert executor.cancelled == 1
    assert session.ledger.finished == 0
    resumed = Session(tmp_path, SearchSpec(trials=1), space=SMALL).run(again := Scripted())
    assert again.submitted[0].plan == executor.submitted[0].plan
    assert resumed.ledger.finished == 1


def test_what_needs_no_training_comes_first_and_comes_even_where_there_is_no_time_to_train(tmp_path: Path) -> None:
    search = SearchSpec(trials=0, budget=1000, sampler="surrogate")
    limits = Constraints(max_drop=0.1, max_size=0.95, max_latency=1.02)

    def answer(spec: TrialSpec) -> Outcome:
        found = figures(spec.plan)
        return Outcome("complete", found, limits.excess(found, BASELINE))

    time, executor = Time(), Scripted(answer)

    def session() -> Session:
        clock = Clock(recipe(1000), tmp_path / "clock.json", now=time)
        clock.expect(10_000)
        return Session(tmp_path, search, limits, clock=clock).run(executor)

    found = session().ledger
    plans = [spec.plan for spec in executor.submitted]
    assert all(plan == plan.untrained() for plan in plans)
    assert [len(plan.edits) for plan in plans] == [1, 1, 4, 8]  # a site, everywhere; both plugins, which lose too much
    assert {candidate.plan.digest for candidate in found.front()} <= {plan.digest for plan in plans[:3]}
    assert plans[2] in [candidate.plan for candidate in found.front()]
    session()
    assert len(executor.submitted) == len(plans)


def test_with_time_to_train_training_follows(tmp_path: Path) -> None:
    time, executor = Time(), Scripted()
    clock = Clock(recipe(1000), tmp_path / "clock.json", now=time)
    clock.expect(10)
    Session(tmp_path, SearchSpec(trials=8, budget=1000, sampler="surrogate"), clock=clock).run(executor)
    trained = [spec.plan != spec.plan.untrained() for spec in executor.submitted]
    assert trained == sorted(trained)
    assert 0 < sum(trained) < 8
