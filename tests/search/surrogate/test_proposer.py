"""The proposer on a made-up space: every plan it proposes is new, within what is known of it, and it learns."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from search_support import BASELINE, SMALL, SPACE, figures, resolved, untrained

from compressor.engine.candidate import Constraints, Outcome
from compressor.engine.space import Parameter, PhaseSpec, PluginUse, SearchSpace
from compressor.errors import Refusal
from compressor.knobs import Choice, IntRange
from compressor.search.surrogate.answers import Scale, reference_point
from compressor.search.surrogate.encoding import Encoding, Values
from compressor.search.surrogate.looks import Look, Looks
from compressor.search.surrogate.proposer import MOST, Proposed, Proposer
from compressor.train.spec import TrainingSpec

LIMITS = Constraints(max_drop=0.065, max_size=0.75)


class Asked:
    """Looks as a worker would; the loss untrained says nothing of plugin ``b``, which costs twice as much trained."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, many: Sequence[Values]) -> Iterator[Look]:
        for values in many:
            self.count += 1
            try:
                plan = resolved(SPACE.plan(values))
            except Refusal as refusal:
                yield Look(values, reason=str(refusal))
                continue
            yield Look(values, untrained(plan))


def proposer(file: Path, asked: Asked, space: SearchSpace = SPACE) -> Proposer:
    reference = reference_point(LIMITS, 0.01)
    return Proposer(Looks(file, asked), Encoding(space.parameters), Scale(BASELINE, 0.005), reference, seeds=[], seed=0)


def run(search: Proposer, trials: int) -> tuple[dict[str, Outcome], list[Proposed]]:
    """Train what is proposed; every trial takes a second."""
    ended: dict[str, Outcome] = {}
    made: list[Proposed] = []
    for _ in range(trials):
        found = search.suggest(ended, ())
        if found is None:
            break
        made.append(found)
        plan = resolved(SPACE.plan(found.values))
        assert plan.digest not in ended
        metrics = figures(plan)
        excess = LIMITS.excess(metrics, BASELINE)
        ended[plan.digest] = Outcome("complete", metrics, excess, seconds={"train": 1.0})
    return ended, made


def test_a_few_trials_teach_it_what_keeps_the_limits_and_the_best_plans_are_found(tmp_path: Path) -> None:
    """Within 6.5 points and 75 % of the bytes four of ``a`` and one of ``b`` are the smallest, two of ``b`` fastest."""
    ended, made = run(proposer(tmp_path / "looks", Asked()), 10)
    outcomes = list(ended.values())
    assert all(outcome.within() for outcome in outcomes[5:])
    kept = [outcome.metrics for outcome in outcomes if outcome.within() and outcome.metrics]
    assert min(found.size_bytes for found in kept) == 550
    assert max(found.latency.speedup for found in kept) == 1.2
    for suggestion, outcome in list(zip(made, outcomes, strict=True))[5:]:
        assert outcome.metrics is not None
        regret = BASELINE.quality.validation - outcome.metrics.quality.validation
        assert abs(suggestion.forecast.regret - regret) < 0.015


def test_where_no_plan_is_likely_to_keep_the_limits_the_likeliest_is_tried(tmp_path: Path) -> None:
    """And not the one that would gain most if it were lucky, which is the one that needs most luck."""
    looks = Looks(tmp_path / "looks", Asked())
    reference = reference_point(Constraints(max_drop=0.01, max_size=0.7, max_latency=1.5), 0.01)
    search = Proposer(looks, Encoding(SPACE.parameters), Scale(BASELINE, 0.005), reference, seeds=[], seed=0)
    first = search.suggest({}, ())
    assert first is not None
    assert first.forecast.regret > 0.01
    small = [look.found for look in looks.found if look.found and look.found.size_bytes <= 0.7 * BASELINE.size_bytes]
    chosen = untrained(resolved(SPACE.plan(first.values)))
    assert chosen.loss <= sorted(found.loss for found in small)[1]  # what is left of its arithmetic counts, too


def test_a_space_that_has_been_tried_ends_its_proposals(tmp_path: Path) -> None:
    ended, made = run(proposer(tmp_path / "looks", Asked(), SMALL), 1000)
    assert len(ended) == len(made) == 4


def test_a_resumed_search_goes_on_like_an_uninterrupted_one(tmp_path: Path) -> None:
    """To the digit: all it needs is what was looked at and what has ended."""
    first = proposer(tmp_path / "looks", Asked())
    ended, _ = run(first, 13)
    shutil.copy(tmp_path / "looks", tmp_path / "copy")
    again = proposer(tmp_path / "copy", asked := Asked())
    assert again.suggest(dict(ended), ()) == first.suggest(dict(ended), ())
    assert asked.count <= MOST


def test_what_was_ended_between_phases_teaches_of_its_plan_and_not_of_a_larger_file(tmp_path: Path) -> None:
    """Half way its file was the baseline's, which no other plan's is: of its like as much is expected all the same."""
    search, ended, expected = proposer(tmp_path / "looks", Asked()), dict[str, Outcome](), list[float]()
    for _ in range(8):
        found = search.suggest(ended, ())
        assert found is not None
        plan = resolved(SPACE.plan(found.values))
        metrics, stopped = figures(plan), found.values["p.b"]
        if stopped:
            expected.append(found.forecast.regret)
            metrics = replace(BASELINE, quality=replace(BASELINE.quality, validation=BASELINE.quality.validation - 0.4))
        excess = LIMITS.excess(metrics, BASELINE)
        ended[plan.digest] = Outcome("stopped" if stopped else "complete", metrics, excess, seconds={"train": 1.0})
    assert len(expected) > 3
    assert min(expected[3:]) > 0.1


def test_a_trial_that_failed_teaches_that_its_like_loses_everything(tmp_path: Path) -> None:
    search, ended, expected = proposer(tmp_path / "looks", Asked()), dict[str, Outcome](), list[float]()
    for _ in range(8):
        found = search.suggest(ended, ())
        assert found is not None
        plan, failed = resolved(SPACE.plan(found.values)), found.values["p.b"]
        if failed:
            expected.append(found.forecast.regret)
        metrics = figures(plan)
        complete = Outcome("complete", metrics, LIMITS.excess(metrics, BASELINE), seconds={"train": 1.0})
        ended[plan.digest] = Outcome("failed", reason="training diverged") if failed else complete
    assert len(expected) > 3
    assert min(expected[3:]) > 0.1


def test_where_looks_train_shortly_the_share_lost_tells_ruin_from_what_mends(tmp_path: Path) -> None:
    """Untrained all plans look alike; those with ``b`` do not recover. The first proposal is one that does."""

    def asked(many: Sequence[Values]) -> Iterator[Look]:
        for look in Asked()(many):
            found = look.found
            lost = 1.0 if look.values["p.b"] else 0.3
            yield look if found is None else replace(look, found=replace(found, loss=2.3, lost=lost))

    reference = reference_point(LIMITS, 0.01)
    looks, scale = Looks(tmp_path / "looks", asked), Scale(BASELINE, 0.005)
    search = Proposer(looks, Encoding(SPACE.parameters), scale, reference, seeds=[], seed=0)
    found = search.suggest({}, ())
    assert found is not None
    assert not found.values["p.b"]


def test_one_training_of_a_plan_that_many_values_come_to_teaches_once(tmp_path: Path) -> None:
    """Counted as often as values come to it, it would make the model as sure as that many trainings."""

    class Kindless(Asked):
        def __call__(self, many: Sequence[Values]) -> Iterator[Look]:
            for values, look in zip(many, super().__call__([{**one, "p.b.kind": "x"} for one in many]), strict=True):
                yield replace(look, values=values)

    looks = Looks(tmp_path / "looks", Kindless())
    search = Proposer(looks, Encoding(SPACE.parameters), Scale(BASELINE, 0.005), (0.065, -0.2, 0.05), seeds=[], seed=0)
    on = {"p.a": False, "p.b": True, "p.b.count": 2}
    looks.at([{**on, "p.b.kind": kind} for kind in "xyz"])
    plan = resolved(SPACE.plan({**on, "p.b.kind": "x"}))
    assert [look.digest for look in looks.found] == 3 * [plan.digest]
    ended = {plan.digest: Outcome("complete", figures(plan), {}, seconds={"train": 1.0})}
    assert len(search._known(ended).trained) == 1


WIDE = SearchSpace(
    tuple(
        parameter
        for name in "abcdef"
        for parameter in (
            Parameter(f"p.{name}", Choice((False, True))),
            Parameter(f"p.{name}.count", IntRange(1, 9), f"p.{name}"),
        )
    ),
    (PhaseSpec("p", tuple(map(PluginUse, "abcdef"))),),
    TrainingSpec(),
)


class OneIsEnough:
    """Looks where one plugin alone keeps the limits and every other costs more; remembers who asked together."""

    def __init__(self) -> None:
        self.with_it: list[list[bool]] = []

    def __call__(self, many: Sequence[Values]) -> Iterator[Look]:
        self.with_it.append([values["p.a"] is True for values in many])
        for values in many:
            try:
                plan = resolved(WIDE.plan(values))
            except Refusal as refusal:
                yield Look(values, reason=str(refusal))
                continue
            others = sum(edit.plugin != "a" for edit in plan.edits)
            size = 1000 - 60 * (len(plan.edits) - others) - 20 * others
            yield Look(
                values, replace(untrained(plan), loss=0.3 + 0.05 * len(plan.edits) + 0.3 * others, size_bytes=size)
            )


def test_what_does_without_a_plugin_of_the_likeliest_plan_is_looked_at_as_well(tmp_path: Path) -> None:
    """Else all looks would go to the like of what was looked at first."""
    asked = OneIsEnough()
    search = Proposer(
        Looks(tmp_path / "looks", asked),
        Encoding(WIDE.parameters),
        Scale(BASELINE, 0.005),
        reference_point(LIMITS, 0.01),
        seeds=[],
        seed=0,
    )
    assert search.suggest({}, ()) is not None
    *_, last = asked.with_it
    assert any(last)
    assert last.count(False) >= len(last) // 2
