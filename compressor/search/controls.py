"""Control arms: what the same training gives without the method. They run when the search is over."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from compressor.apart import apart
from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit, Phase, Plan
from compressor.engine.trial import clear
from compressor.errors import CompressorError, Refusal
from compressor.evidence import Evidence
from compressor.foreign import one_line
from compressor.graph.network import Network
from compressor.plugin import sites_of
from compressor.registry import make
from compressor.search.clock import Clock
from compressor.search.executor import Executor, TrialSpec
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
        folder = Path(spec.folder)
        outcome = kept(partial(prepared.run.outcome_in, folder), observer, instead="the control is run again")
        try:
            if outcome is None:
                clear(folder)
                outcome = executor.submit(spec).result()
        except CompressorError as error:
            observer.notify(Note(f"control {name} gave nothing: {error}"))
            continue
        if outcome.metrics is None:
            observer.notify(Note(f"control {name} gave nothing: {outcome.reason}"))
            continue
        yield name, outcome.metrics.quality


def _arms(prepared: Prepared, best: Candidate) -> Iterator[tuple[str, Callable[[], TrialSpec | None]]]:
    """Every arm asked for, and what makes its spec: None for one that would be the candidate itself."""
    run, recipe = prepared.run, prepared.recipe

    def spec(name: str, plan: Plan) -> TrialSpec:
        return TrialSpec(
            run=str(run.path),
            folder=str(run.control(best.digest, name)),
            plan=plan,
            number=best.trial or 0,
            seed=recipe.search.seed,
            kind="control",
            threads=recipe.search.threads,
            timeout=recipe.search.timeout,
        )

    def elsewhere() -> TrialSpec | None:
        plan = apart(lambda: _other(best.plan, prepared), seconds=recipe.limits.plugin_seconds)
        return None if plan is None else spec("random", plan)

    if recipe.controls.scratch:
        source = str(run.candidate(best.digest))
        yield "scratch", lambda: replace(spec("scratch", best.plan), kind="scratch", source=source)
    if recipe.controls.random:
        yield "random", elsewhere
    if recipe.controls.undistilled:
        yield "undistilled", lambda: spec("undistilled", undistilled(best.plan))
    if recipe.controls.unchanged:
        yield "unchanged", lambda: spec("unchanged", unchanged(best.plan))


def _other(plan: Plan, prepared: Prepared) -> Plan | None:
    """The first plan drawn by chance that acts elsewhere."""
    seed, network, evidence = prepared.recipe.search.seed, prepared.baseline.network, prepared.evidence
    drawn = (at_random(plan, network, evidence, seed=seed + attempt) for attempt in range(DRAWS))
    return next((other for other in drawn if _places(other) != _places(plan)), None)


def _places(plan: Plan) -> list[set[tuple[str, str]]]:
    """By phase, in which order does not matter."""
    return [{(step.plugin, step.site) for step in phase.steps if isinstance(step, Edit)} for phase in plan.phases]


def undistilled(plan: Plan) -> Plan:
    """The same plan, trained on labels alone."""
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
