"""Control arms: the same plan without distillation, as many edits elsewhere, the same architecture from scratch."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
from search_support import Scripted, result_of, run_here

from compressor.data.load import load_data
from compressor.engine.baseline import load_baseline
from compressor.engine.candidate import Outcome
from compressor.engine.course import Progress
from compressor.engine.plan import Edit, Phase, Plan
from compressor.engine.sensitivity import Sensitivities
from compressor.engine.space import build_space
from compressor.engine.survey import surveyor
from compressor.plugin import sites_of
from compressor.recipe.model import ControlsSpec
from compressor.registry import make
from compressor.search.clock import Clock
from compressor.search.controls import at_random, run_controls, unchanged, undistilled
from compressor.search.executor import Job, JobResult, TrialSpec
from compressor.search.keeping import keep
from compressor.search.observer import Event, Note
from compressor.search.prepare import Prepared
from compressor.search.result import Candidate
from compressor.search.run_folder import RunFolder
from compressor.train.spec import Distillation, TrainingSpec

TRAINING = TrainingSpec(epochs=1, steps_per_epoch=2, distillation=Distillation(logits=0.5))
PLAN = Plan((Phase("p", (Edit("binarize", "1"),), TRAINING),))

ALL = ("scratch", "random", "undistilled", "unchanged")


@pytest.fixture
def prepared(run: RunFolder) -> Prepared:
    recipe = replace(run.recipe(), controls=ControlsSpec(scratch=True, random=True, undistilled=True, unchanged=True))
    baseline = load_baseline(run.baseline)
    space = build_space(recipe.phases, surveyor(baseline.network), recipe.training)
    return Prepared(run, recipe, load_data(recipe.data), baseline, Sensitivities(), space)


class Here(Scripted):
    """Runs every trial here, at once."""

    def __init__(self, run: Path) -> None:
        super().__init__()
        self._run = run

    def submit(self, job: Job, progress: Progress | None = None) -> Future[JobResult]:
        self.submitted.append(job.spec)
        future: Future[JobResult] = Future()
        future.set_result(run_here(self._run, job, progress))
        return future


class Notes:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def notify(self, event: Event) -> None:
        if isinstance(event, Note):
            self.notes.append(event.text)


def unlimited(prepared: Prepared) -> Clock:
    return Clock(prepared.recipe, prepared.run.clock)


def test_undistilled_is_the_same_plan_on_labels_alone() -> None:
    (phase,) = undistilled(PLAN).phases
    assert phase.training == replace(TRAINING, distillation=Distillation())
    assert phase.steps == PLAN.phases[0].steps


def test_unchanged_is_the_training_of_the_plan_without_its_edits() -> None:
    (phase,) = unchanged(PLAN).phases
    assert (phase.steps, phase.training) == ((), TRAINING)


def test_random_edits_are_as_many_at_other_places(prepared: Prepared) -> None:
    network, evidence = prepared.baseline.network, prepared.evidence
    two = Plan((Phase("p", (Edit("binarize", "1"), Edit("binarize", "3")), TRAINING),))
    plans = [at_random(two, network, evidence, seed=seed) for seed in range(8)]
    assert all(len({edit.site for edit in plan.edits}) == 2 for plan in plans)
    assert len({plan.digest for plan in plans}) > 1
    assert plans[0] == at_random(two, network, evidence, seed=0)
    before = [path for path, _ in network.leaves()]
    assert before == [path for path, _ in load_baseline(prepared.run.baseline).network.leaves()]


def test_every_arm_is_run_once_and_reported(prepared: Prepared) -> None:
    result = run_here(prepared.run.path, Job(TrialSpec(PLAN, number=0, seed=0)))
    keep(prepared.run.candidate(PLAN.digest), result)
    assert result.outcome.metrics is not None
    best = Candidate.of(result.outcome.metrics, PLAN, digest=PLAN.digest, trial=0)

    executor = Here(prepared.run.path)
    arms = dict(run_controls(prepared, best, executor, Notes(), unlimited(prepared)))
    assert set(arms) == set(ALL)
    assert all(0 <= accuracy.validation <= 1 for accuracy in arms.values())
    assert [spec.kind for spec in executor.submitted] == ["scratch", "control", "control", "control"]

    again = Scripted()
    assert dict(run_controls(prepared, best, again, Notes(), unlimited(prepared))) == arms
    assert again.submitted == []


def test_an_arm_that_fails_is_told_and_left_out(prepared: Prepared) -> None:
    best = Candidate.of(prepared.baseline.metrics, PLAN, digest="x", trial=0)
    seen = Notes()
    executor = Scripted(lambda spec: Outcome("failed", reason="no luck"))
    keep(prepared.run.candidate("x"), result_of(TrialSpec(PLAN, number=0, seed=0)))
    assert dict(run_controls(prepared, best, executor, seen, unlimited(prepared))) == {}
    assert seen.notes == [f"control {name} gave nothing: no luck" for name in ALL]
    assert executor.submitted[0].source == "x"


def test_edits_with_nowhere_else_to_go_have_no_random_arm(prepared: Prepared) -> None:
    prepared = replace(prepared, recipe=replace(prepared.recipe, controls=ControlsSpec(random=True)))
    everywhere = [site.path for site in sites_of(make("binarize"), prepared.baseline.network)]
    plan = Plan((Phase("p", tuple(Edit("binarize", path) for path in everywhere), TRAINING),))
    best = Candidate.of(prepared.baseline.metrics, plan, digest="x", trial=0)
    seen, executor = Notes(), Scripted()
    assert dict(run_controls(prepared, best, executor, seen, unlimited(prepared))) == {}
    assert seen.notes == ["control random left out: the edits have nowhere else to go"]
    assert executor.submitted == []
