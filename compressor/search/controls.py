"""Control arms: what the same training gives without the method. They run when the search is over."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from compressor.apart import apart
from compressor.engine.apply import apply_edit
from compressor.engine.candidate import Outcome
from compressor.engine.plan import Edit, Phase, Plan
from compressor.errors import CompressorError, Refusal, TrialError
from compressor.evidence import Evidence
from compressor.foreign import one_line
from compressor.graph.network import Network
from compressor.plugin import sites_of
from compressor.registry import make
from compressor.search.clock import Clock
from compressor.search.executor import Executor, Job, TrialSpec
from compressor.search.jobs import Abandoned, Ended, Jobs
from compressor.search.keeping import job_of
from compressor.search.kept import kept
from compressor.search.observer import Note, Observer, Stage
from compressor.search.prepare import Prepared
from compressor.search.result import Candidate
from compressor.task import Quality
from compressor.train.spec import Distillation

DRAWS = 8
"""How often sites are drawn by chance before it is believed that there are no others."""


def run_controls(
    prepared: Prepared, best: Candidate, executor: Executor, observer: Observer, clock: Clock
) -> Iterator[tuple[str, Quality]]:
    """Every control arm the recipe asks for, by name, with its validation quality. Finished ones are not run again.

    An arm that fails, on whosever account, is named and left out: the candidate has been judged without it.
    """
    for name, arm in _arms(prepared, best):
        if not clock.allows(clock.trial_seconds):
            observer.notify(Note(f"control {name} left out: the budget is spent"))
            continue
        observer.notify(Stage("control", name))
        try:
            spec = arm()
        except Exception as error:  # plans are drawn with plugins, which may raise anything
            observer.notify(Note(f"control {name} gave nothing: {one_line(error)}"))
            continue
        if spec is None:
            observer.notify(Note(f"control {name} left out: the edits have nowhere else to go"))
            continue
        folder = prepared.run.control(best.digest, name)
        outcome = kept(partial(prepared.run.outcome_in, folder), observer, instead="the control is run again")
        try:
            if outcome is None:
                outcome = _carried_out(name, job_of(prepared.run, spec), folder, executor, observer)
        except CompressorError as error:
            observer.notify(Note(f"control {name} gave nothing: {error}"))
            continue
        if outcome.metrics is None:
            observer.notify(Note(f"control {name} gave nothing: {outcome.reason}"))
            continue
        yield name, outcome.metrics.quality


def _carried_out(name: str, job: Job, folder: Path, executor: Executor, observer: Observer) -> Outcome:
    """How the arm ended. Raises ``CompressorError`` where it did not."""
    jobs: Jobs[str] = Jobs(executor, lambda name, why: observer.notify(Note(f"control {name} is run again: {why}")))
    jobs.start(name, job, folder)
    while True:
        match jobs.next():
            case Ended(outcome=outcome):
                return outcome
            case Abandoned(reason=reason, machine=machine):
                raise machine or TrialError(reason)


def _arms(prepared: Prepared, best: Candidate) -> Iterator[tuple[str, Callable[[], TrialSpec | None]]]:
    """Every arm asked for, and what makes its spec: None for one that would be the candidate itself."""
    recipe = prepared.recipe

    def spec(plan: Plan) -> TrialSpec:
        return TrialSpec(
            plan=plan,
            number=best.trial or 0,
            seed=recipe.search.seed,
            kind="control",
            threads=recipe.search.threads,
            timeout=recipe.search.timeout,
        )

    def elsewhere() -> TrialSpec | None:
        plan = apart(lambda: _other(best.plan, prepared), seconds=recipe.limits.plugin_seconds)
        return None if plan is None else spec(plan)

    if recipe.controls.scratch:
        yield "scratch", lambda: replace(spec(best.plan), kind="scratch", source=best.digest)
    if recipe.controls.random:
        yield "random", elsewhere
    if recipe.controls.undistilled:
        yield "undistilled", lambda: spec(undistilled(best.plan))
    if recipe.controls.unchanged:
        yield "unchanged", lambda: spec(unchanged(best.plan))


def _other(plan: Plan, prepared: Prepared) -> Plan | None:
    """The first plan drawn by chance that acts elsewhere."""
    seed, network, evidence = prepared.recipe.search.seed, prepared.baseline.network, prepared.evidence
    drawn = (at_random(plan, network, evidence, seed=seed + attempt) for attempt in range(DRAWS))
    return next((other for other in drawn if _places(other) != _places(plan)), None)


def _places(plan: Plan) -> list[set[tuple[str, str]]]:
    """By phase, in which order does not matter."""
    return [{(step.plugin, step.site) for step in phase.steps if isinstance(step, Edit)} for phase in plan.phases]


def undistilled(plan: Plan) -> Plan:
    """The same plan, trained without a teacher."""
    return Plan(
        tuple(
            replace(phase, training=phase.training and replace(phase.training, distillation=Distillation()))
            for phase in plan.phases
        )
    )


def unchanged(plan: Plan) -> Plan:
    """The trainings of the plan without its edits."""
    return Plan(tuple(replace(phase, steps=()) for phase in plan.unrolled()))


def at_random(plan: Plan, network: Network, evidence: Evidence, *, seed: int) -> Plan:
    """As many edits of each plugin as in ``plan``, at sites drawn by chance."""
    rng = random.Random(seed)
    fork = network.fork()
    phases: list[Phase] = []
    for phase in plan.phases:
        edits = [
            edit for step in phase.steps if isinstance(step, Edit) for edit in _elsewhere(step, fork, evidence, rng)
        ]
        phases.append(replace(phase, steps=tuple(edits)))
    return Plan(tuple(phases))


def _elsewhere(edit: Edit, network: Network, evidence: Evidence, rng: random.Random) -> list[Edit]:
    """The edit at a site drawn by chance, applied; empty where it applies nowhere any more."""
    sites = sites_of(make(edit.plugin, edit.options), network)
    rng.shuffle(sites)
    for site in sites:
        choice = {name: knob.nearest(edit.choice.get(name, knob.default)) for name, knob in site.knobs.items()}
        moved = Edit(edit.plugin, site.path, choice, edit.options)
        try:
            apply_edit(network, moved, evidence)
        except Refusal:
            continue
        return [moved]
    return []
