"""The loop with a scripted executor: nothing twice, nothing lost, everything told as what it is."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import optuna
import pytest
from optuna.trial import TrialState
from search_support import BASELINE, PHASE, SMALL, SPACE, Scripted, figures, metrics, prepared, resolved

from compressor.data.spec import DataSpec
from compressor.engine.candidate import Constraints, Outcome
from compressor.engine.plan import Decision, Plan
from compressor.engine.rungs import Reached
from compressor.engine.space import Parameter, SearchSpace
from compressor.errors import ForeignError, MachineError, NoAnswer, TrialError, WorkerLost
from compressor.knobs import Choice
from compressor.recipe.model import Recipe, Sampler, SearchSpec
from compressor.search.clock import Clock
from compressor.search.executor import JobResult, TrialSpec
from compressor.search.interrupts import Interrupts
from compressor.search.jobs import ATTEMPTS
from compressor.search.ledger import Ledger
from compressor.search.loop import SearchLoop
from compressor.search.observer import Event, FrontChanged, Note, TrialEnded, TrialStarted
from compressor.search.seeds import seeds_of
from compressor.search.study import Study
from compressor.train.spec import TrainingSpec

Submit = Callable[..., Future[JobResult]]


class Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def notify(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


class Session:
    """One driver's life on a folder."""

    def __init__(
        self,
        folder: Path,
        search: SearchSpec,
        limits: Constraints | None = None,
        space: SearchSpace = SPACE,
        clock: Clock | None = None,
    ) -> None:
        self.prepared = prepared(folder, search, limits, space)
        recipe = self.prepared.recipe
        self.study = Study(folder / "study.db", recipe, self.prepared.space)
        queued = self.study.origins()
        for name, values in seeds_of(search, self.prepared.space)[0]:
            if name not in queued:
                self.study.enqueue(values, origin=name)
        self.seen = Recorder()
        self.ledger = Ledger.read(self.prepared, self.study, self.seen)
        self.interrupts = Interrupts()
        self.clock = clock or Clock(recipe, folder / "clock.json")

    def run(self, executor: Scripted) -> Session:
        SearchLoop(self.prepared, self.study, self.ledger, executor, self.seen, self.interrupts, self.clock).run()
        self.study.close()
        return self


def trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    """Every trial that was begun."""
    study = optuna.load_study(study_name="compressor", storage=f"sqlite:///{folder / 'study.db'}")
    return [trial for trial in study.get_trials() if trial.state != TrialState.WAITING]


def end(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    """What the study remembers of how a trial ended."""
    return dict(trial.user_attrs.get("end", {}))


def screening(limits: Constraints) -> Callable[[TrialSpec], Outcome]:
    """Trials with a limit on size that is known before training."""

    def answer(spec: TrialSpec) -> Outcome:
        found = figures(spec.plan)
        excess = limits.excess(found, BASELINE)
        if excess["max_size"] > 0:
            return Outcome("screened", found, {"max_size": excess["max_size"]})
        return Outcome("complete", found, excess)

    return answer


def test_no_candidate_is_run_twice(tmp_path: Path) -> None:
    executor = Scripted()
    session = Session(tmp_path, SearchSpec(trials=15)).run(executor)
    digests = [spec.plan.digest for spec in executor.submitted]
    assert len(digests) == len(set(digests)) == session.ledger.finished == 15
    told = trials(tmp_path)
    duplicates = [trial for trial in told if end(trial).get("duplicate_of") is not None]
    for trial in duplicates:
        assert trial.values == told[end(trial)["duplicate_of"]].values
    assert session.ledger.counts.duplicate == len(duplicates)
    assert len(session.seen.of(TrialStarted)) == 15
    assert len(session.seen.of(TrialEnded)) == 15 + len(duplicates)


def test_seeds_come_first(tmp_path: Path) -> None:
    executor = Scripted()
    Session(tmp_path, SearchSpec(trials=3, seeds=({"p.a.count": 2},))).run(executor)
    assert [len(spec.plan.edits) for spec in executor.submitted] == [2, 4, 4]


def test_an_exhausted_space_ends_the_search(tmp_path: Path) -> None:
    executor = Scripted()
    session = Session(tmp_path, SearchSpec(trials=1000, patience=20), space=SMALL).run(executor)
    assert session.ledger.finished == len(executor.submitted) == 4
    assert any("space exhausted" in note.text for note in session.seen.of(Note) if isinstance(note, Note))


def test_every_told_trial_carries_constraints(tmp_path: Path) -> None:
    limits = Constraints(max_drop=0.05, max_size=0.8)
    Session(tmp_path, SearchSpec(trials=8), limits).run(Scripted(screening(limits)))
    for trial in trials(tmp_path):
        assert trial.state == TrialState.COMPLETE
        assert set(trial.constraints) == {"plan", "max_size", "max_drop"}
        assert max(trial.constraints.values()) > 0 or end(trial)["status"] == "complete"
    assert {end(trial)["status"] for trial in trials(tmp_path)} >= {"complete", "screened"}


def test_what_is_screened_out_does_not_use_up_the_trials(tmp_path: Path) -> None:
    limits = Constraints(max_size=0.65)
    executor = Scripted(screening(limits))
    session = Session(tmp_path, SearchSpec(trials=8, automatic_seeds=False), limits).run(executor)
    assert session.ledger.counts.complete == session.ledger.finished == 8
    assert session.ledger.counts.screened > 0
    assert len(executor.submitted) == 8 + session.ledger.counts.screened


def test_a_search_that_stays_over_its_limits_ends_and_says_so(tmp_path: Path) -> None:
    limits = Constraints(max_size=0.1)
    executor = Scripted(screening(limits))
    session = Session(tmp_path, SearchSpec(trials=5, patience=12), limits).run(executor)
    assert session.ledger.finished == 0
    assert session.ledger.counts.screened == len(executor.submitted) <= 12
    (note,) = session.seen.of(Note)
    assert isinstance(note, Note)
    assert note.text.startswith("search ended: 12 proposals in a row overstep a limit")


def test_a_plan_that_changes_nothing_is_infeasible_not_failed(tmp_path: Path) -> None:
    search = SearchSpec(trials=2, seeds=({"p.a": False},), automatic_seeds=False)
    session = Session(tmp_path, search).run(Scripted())
    first = trials(tmp_path)[0]
    assert (first.state, first.values) == (TrialState.COMPLETE, [pytest.approx(0.1), 0.0, 0.0])  # the baseline's
    assert first.constraints == {"plan": 1.0}
    assert session.ledger.counts.refused >= 1
    assert session.ledger.finished == 2


def test_failures_keep_their_reason_and_the_search_goes_on(tmp_path: Path) -> None:
    executor = Scripted(troubles=[TrialError("ended with status 3")])
    session = Session(tmp_path, SearchSpec(trials=3)).run(executor)
    first = trials(tmp_path)[0]
    assert (first.state, end(first)["reason"]) == (TrialState.FAIL, "ended with status 3")
    assert (session.ledger.counts.failed, session.ledger.counts.complete) == (1, 2)


def test_a_site_at_which_a_plugin_fails_is_named_once_and_left_alone(tmp_path: Path) -> None:
    def resolve(plan: Plan, *_: object) -> Plan:
        uses = [step for phase in plan.phases for step in phase.steps if isinstance(step, Decision)]
        if any(step.plugin == "b" and "odd[[]1]" not in step.skip for step in uses):
            error = NoAnswer("plugin 'b', site odd[1]: took longer than 60 s")
            error.culprit = "b", "odd[1]"
            raise error
        return resolved(plan)

    executor = Scripted()
    executor.resolve = resolve
    session = Session(tmp_path, SearchSpec(trials=4)).run(executor)
    assert (session.ledger.counts.failed, session.ledger.counts.complete) == (0, 4)
    notes = [event.text for event in session.seen.of(Note) if isinstance(event, Note)]
    assert notes == ["plugin 'b', site odd[1]: took longer than 60 s; the site is left alone"]


def test_a_plan_that_cannot_be_settled_is_a_failure_and_the_search_goes_on(tmp_path: Path) -> None:
    def broken(plan: Plan, *_: object) -> Plan:
        raise ForeignError("plugin 'a': ZeroDivisionError: no such luck (a.py, line 3)")

    executor = Scripted()
    executor.resolve = broken
    session = Session(tmp_path, SearchSpec(trials=2)).run(executor)
    assert session.ledger.counts.failed == 2
    assert "ZeroDivisionError: no such luck (a.py, line 3)" in end(trials(tmp_path)[0])["reason"]


def test_a_worker_lost_while_it_plans_is_asked_again(tmp_path: Path) -> None:
    lost = iter([WorkerLost("vanished"), WorkerLost("vanished")])

    def resolve(plan: Plan, *_: object) -> Plan:
        if (error := next(lost, None)) is not None:
            raise error
        return resolved(plan)

    executor = Scripted()
    executor.resolve = resolve
    session = Session(tmp_path, SearchSpec(trials=2)).run(executor)
    assert (session.ledger.counts.failed, session.ledger.counts.complete) == (0, 2)


def test_a_gate_s_stop_is_infeasible(tmp_path: Path) -> None:
    executor = Scripted(lambda spec: Outcome("stopped", figures(spec.plan), reason="gate after p"))
    session = Session(tmp_path, SearchSpec(trials=2)).run(executor)
    assert session.ledger.front() == []
    assert all(trial.constraints["plan"] > 0 for trial in trials(tmp_path))


def test_once_five_are_complete_a_trial_is_trained_only_as_far_as_it_promises(tmp_path: Path) -> None:
    def answer(spec: TrialSpec) -> Outcome:
        found = figures(spec.plan)
        curve = (Reached(0.3, found.quality.validation - 0.05), Reached(1.0, found.quality.validation))
        return Outcome("complete", found, Constraints(max_drop=0.06).excess(found, BASELINE), curve=curve)

    executor = Scripted(answer)
    Session(tmp_path, SearchSpec(trials=8), Constraints(max_drop=0.06)).run(executor)
    assert [bool(spec.rungs) for spec in executor.submitted] == [False] * 5 + [True] * 3
    (rung,) = executor.submitted[-1].rungs  # of half of the epochs nothing is known
    assert rung.share == 0.25
    assert rung.regret == pytest.approx(0.06 + 0.05 + 0.001)  # the limit, the largest gain, the noise
    assert Session(tmp_path, SearchSpec(trials=8), Constraints(max_drop=0.06)).ledger.finished == 8
    free = Scripted(answer)
    (tmp_path / "free").mkdir()
    Session(tmp_path / "free", SearchSpec(trials=8)).run(free)
    assert not any(spec.rungs for spec in free.submitted)  # without a limit every plan may be worth something


def test_a_trial_whose_worker_was_lost_is_run_again(tmp_path: Path) -> None:
    executor = Scripted(troubles=[WorkerLost("signal 9"), WorkerLost("signal 9")])
    session = Session(tmp_path, SearchSpec(trials=2)).run(executor)
    assert executor.submitted[0] == executor.submitted[1] == executor.submitted[2] != executor.submitted[3]
    assert session.ledger.counts.complete == 2
    assert len(trials(tmp_path)) == 2
    assert executor.forgotten == [0, 1], "when they had ended, and not before"


def test_a_worker_lost_too_often_is_a_failure(tmp_path: Path) -> None:
    search = SearchSpec(trials=1, automatic_seeds=False)
    executor = Scripted(troubles=[WorkerLost("signal 9")] * 10)
    session = Session(tmp_path, search).run(executor)
    assert len(executor.submitted) == ATTEMPTS + 1
    assert executor.forgotten == [0]
    assert "given up" in next(iter(session.ledger.outcomes())).reason


def test_what_the_machine_failed_is_run_again_when_the_run_goes_on(tmp_path: Path) -> None:
    search = SearchSpec(trials=3)
    executor = Scripted(troubles=[None, MachineError("trial 1: No space left on device")])
    session = Session(tmp_path, search)
    with pytest.raises(MachineError, match="No space left on device; nothing is lost: go on with: compressor resume"):
        session.run(executor)
    session.study.close()
    assert session.ledger.finished == 1
    assert executor.forgotten == [0], "what trial 1 has come to is waited for"
    again = Scripted()
    resumed = Session(tmp_path, search).run(again)
    assert executor.submitted[1].plan in [spec.plan for spec in again.submitted]
    assert (resumed.ledger.counts.complete, resumed.ledger.counts.failed) == (3, 0)


def test_a_trial_whose_files_are_damaged_is_run_again_once(tmp_path: Path) -> None:
    search = SearchSpec(trials=3)
    first = Session(tmp_path, search).run(Scripted())
    digest = first.ledger.front()[0].digest
    (tmp_path / "candidates" / digest / "model.onnx").write_bytes(b"")
    for expected in ([digest], []):
        again = Scripted()
        session = Session(tmp_path, search).run(again)
        assert [spec.plan.digest for spec in again.submitted] == expected
        assert session.ledger.counts == first.ledger.counts
        assert digest in [candidate.digest for candidate in session.ledger.front()]
    assert session.seen.of(Note) == []


def test_parallel_proposals_of_one_candidate_run_once(tmp_path: Path) -> None:
    search = SearchSpec(trials=3, seeds=({"p.a.count": 2},), automatic_seeds=False)
    executor = Scripted(slots=2)
    executor.hold = True
    session = Session(tmp_path, search)
    session.study.enqueue({"p.a": True, "p.a.count": 2, "p.b": False}, origin="again")
    submit = executor.submit

    def releasing(*arguments: object) -> object:
        future = submit(*arguments)  # type: ignore[arg-type]
        if len(executor.submitted) == 2:
            executor.release()
            executor.hold = False
        return future

    executor.submit = releasing  # type: ignore[method-assign, assignment]
    session.run(executor)
    digests = [spec.plan.digest for spec in executor.submitted]
    assert len(digests) == len(set(digests)) == 3
    assert end(trials(tmp_path)[1])["duplicate_of"] == 0
    assert trials(tmp_path)[1].values == trials(tmp_path)[0].values


def test_the_front_is_announced_when_it_changes(tmp_path: Path) -> None:
    session = Session(tmp_path, SearchSpec(trials=6)).run(Scripted())
    fronts = [event.front for event in session.seen.of(FrontChanged) if isinstance(event, FrontChanged)]
    assert fronts
    assert list(fronts[-1]) == session.ledger.front()


def interrupting(session: Session, executor: Scripted, submit: Submit, *arguments: Any) -> Future[JobResult]:
    """Submit, and press Ctrl-C with the third."""
    session.interrupts.count = int(len(executor.submitted) >= 2)
    return submit(*arguments)


@pytest.mark.parametrize(("sampler", "count"), [("tpe", 16), ("surrogate", 6)])
def test_an_interrupted_search_goes_on_as_if_nothing_had_been(tmp_path: Path, sampler: Sampler, count: int) -> None:
    search = SearchSpec(trials=count, seed=3, sampler=sampler)
    whole = Scripted()
    (tmp_path / "whole").mkdir()
    Session(tmp_path / "whole", search).run(whole)

    parts = tmp_path / "parts"
    parts.mkdir()
    run: list[str] = []
    for _ in range(8):
        executor = Scripted()
        session = Session(parts, search)
        executor.submit = partial(interrupting, session, executor, executor.submit)  # type: ignore[method-assign]
        session.run(executor)
        run += [spec.plan.digest for spec in executor.submitted]
    assert run == [spec.plan.digest for spec in whole.submitted]
    assert [t.params for t in trials(parts)] == [t.params for t in trials(tmp_path / "whole")]


def test_cancelled_trials_are_queued_again(tmp_path: Path) -> None:
    executor = Scripted(troubles=[WorkerLost("cancelled")])
    session = Session(tmp_path, SearchSpec(trials=3))
    executor.hold = True
    executor.cancel_all = executor.release  # type: ignore[method-assign]
    submit = executor.submit

    def leaving(*arguments: object) -> object:
        session.interrupts.count = 2
        return submit(*arguments)  # type: ignore[arg-type]

    executor.submit = leaving  # type: ignore[method-assign, assignment]
    session.run(executor)
    assert executor.forgotten == []
    states = [trial.state for trial in trials(tmp_path)]
    assert states.count(TrialState.RUNNING) == 0
    again = Scripted()
    resumed = Session(tmp_path, SearchSpec(trials=3)).run(again)
    assert resumed.ledger.finished == 3
    assert executor.submitted[0].plan in [spec.plan for spec in again.submitted]
    assert [trial.user_attrs.get("retry_of") for trial in trials(tmp_path)].count(0) == 1


class Killed(BaseException):
    """Stands for the end of the driver: nothing after it happens."""


MOMENTS = ["before the worker ended", "after the worker ended", "within the tell", "within the writing"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_driver_loses_no_finished_trial(tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    search = SearchSpec(trials=4)
    executor = Scripted()
    submit = executor.submit

    def dying(*arguments: object) -> object:
        if len(executor.submitted) < 2:
            return submit(*arguments)  # type: ignore[arg-type]
        if moment == "within the writing":
            monkeypatch.setattr(session.study._file, "write", dying_tell)
        elif moment == "before the worker ended":
            raise Killed
        future = submit(*arguments)  # type: ignore[arg-type]
        if moment == "after the worker ended":
            raise Killed
        return future

    def dying_tell(*arguments: object, **more: object) -> None:
        raise Killed

    session = Session(tmp_path, search)
    if moment == "within the tell":
        monkeypatch.setattr(session.study._study, "tell", dying_tell)
    else:
        executor.submit = dying  # type: ignore[method-assign, assignment]
    with pytest.raises(Killed):
        session.run(executor)
    session.study.close()
    done = {file.parent.name for file in tmp_path.glob("candidates/*/outcome.json")}

    again = Scripted()
    resumed = Session(tmp_path, search).run(again)
    rerun = {spec.plan.digest for spec in again.submitted}
    assert not done & rerun
    assert resumed.ledger.finished == 4
    assert {trial.state for trial in trials(tmp_path)} <= {TrialState.COMPLETE, TrialState.FAIL}


def test_the_study_is_in_wal_mode(tmp_path: Path) -> None:
    Session(tmp_path, SearchSpec(trials=1)).run(Scripted())
    with sqlite3.connect(tmp_path / "study.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


SAMPLERS = [
    "nsga2",
    pytest.param("gp", marks=pytest.mark.skipif(find_spec("scipy") is None, reason="needs the extra compressor[gp]")),
]
SWITCHES = SearchSpace(
    tuple(Parameter(f"p.{name}", Choice((False, True))) for name in "abcdefgh"), (PHASE,), TrainingSpec()
)


@pytest.mark.parametrize("sampler", ["surrogate", "random", "tpe", *SAMPLERS])
def test_every_sampler_searches(tmp_path: Path, sampler: Sampler) -> None:
    limits = Constraints(max_size=0.9)
    session = Session(tmp_path, SearchSpec(trials=12, sampler=sampler), limits).run(Scripted(screening(limits)))
    assert session.ledger.finished == 12


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_learns_from_what_a_limit_screened_out(tmp_path: Path, sampler: Sampler) -> None:
    """Nothing else tells it that at least seven of eight switches must be on."""
    recipe = Recipe(DataSpec(name="digits"), constraints=Constraints(max_size=1.0), search=SearchSpec(sampler=sampler))
    study = Study(tmp_path / "study.db", recipe, SWITCHES)
    counts = []
    rounds = 7 if sampler == "gp" else 20
    for _ in range(3 * rounds):
        proposal = study.ask()
        on = sum(map(bool, proposal.values.values()))
        status: Literal["complete", "screened"] = "complete" if on >= 7 else "screened"
        study.tell(proposal.number, Outcome(status, metrics(size=2000 - 100 * on), {"max_size": 7 - on}), BASELINE)
        counts.append(on)
    study.close()
    assert sum(counts[-rounds:]) >= sum(counts[:rounds]) + rounds


def test_a_study_opened_anew_proposes_as_the_one_kept_open(tmp_path: Path) -> None:
    """What NSGA-II keeps between proposals changes none; generations have 20 trials."""
    recipe = Recipe(DataSpec(name="digits"), search=SearchSpec(sampler="nsga2", seed=5))
    proposed: dict[bool, list[object]] = {True: [], False: []}
    for anew, found in proposed.items():
        file, rng = tmp_path / f"{anew}.db", random.Random(0)
        study = Study(file, recipe, SWITCHES)
        for _ in range(45):
            proposal = study.ask()
            found.append(proposal.values)
            study.tell(proposal.number, Outcome("complete", metrics(size=rng.randrange(9999)), {}), BASELINE)
            if anew:
                study.close()
                study = Study(file, recipe, SWITCHES)
        study.close()
    assert proposed[True] == proposed[False]
    assert len({str(values) for values in proposed[True]}) > 20


def test_a_seed_of_any_size_is_a_seed(tmp_path: Path) -> None:
    for seed in (4295, 2**32 - 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        assert Session(folder, SearchSpec(trials=6, seed=seed)).run(Scripted()).ledger.finished == 6


@pytest.mark.parametrize("name", ["run?1", "run%20x", "run{}", "run{SCHEMA_VERSION}", "run#1;a&b", "ünï"])
def test_the_study_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    Session(folder, SearchSpec(trials=2)).run(Scripted())
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (folder / "study.db").stat().st_size > 0
    assert Session(folder, SearchSpec(trials=2)).run(Scripted()).ledger.finished == 2


@pytest.mark.parametrize("damage", ["garbage", "truncated", "folder"])
def test_a_damaged_study_is_set_aside_and_no_ended_trial_run_again(tmp_path: Path, damage: str) -> None:
    search = SearchSpec(trials=5, automatic_seeds=False)
    before = Scripted()
    Session(tmp_path, search).run(before)
    file = tmp_path / "study.db"
    if damage == "folder":
        file.unlink()
        file.mkdir()
    else:
        file.write_bytes(b"no database" * 1000 if damage == "garbage" else file.read_bytes()[:10_000])
    again = Scripted()
    session = Session(tmp_path, search).run(again)
    assert session.study.set_aside == tmp_path / "study.damaged.db"
    assert not again.submitted
    assert session.ledger.finished == 5
