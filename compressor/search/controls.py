"""Control arms: what the same training gives without the method. They run when the search is over."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from compressor.engine.apply import apply_edit
from compressor.engine.candidate import Accuracy
from compressor.engine.plan import Edit, Phase, Plan
from compressor.errors import Refusal, TrialError, WorkerLost
from compressor.evidence import Evidence
from compressor.graph.network import Network
from compressor.plugin import sites_of
from compressor.registry import make
from compressor.search.executor import Executor, TrialSpec
from compressor.search.observer import Note, Observer, Stage
from compressor.search.prepare import Prepared
from compressor.search.result import Candidate
from compressor.train.spec import Distillation

DRAWS = 8
"""How often sites are drawn by chance before it is believed that there are no others."""


def run_controls(
    prepared: Prepared, best: Candidate, executor: Executor, observer: Observer
) -> Iterator[tuple[str, Accuracy]]:
    """Every control arm the recipe asks for, by name, with its validation accuracy. Finished ones are not run again."""
    for name, spec in _specs(prepared, best):
        if spec is None:
            observer.notify(Note(f"control {name} left out: the edits have nowhere else to go"))
            continue
        observer.notify(Stage("control", name))
        outcome = prepared.run.outcome_in(Path(spec.folder))
        try:
            outcome = outcome or executor.submit(spec).result()
        except (TrialError, WorkerLost) as error:
            observer.notify(Note(f"control {name} gave nothing: {error}"))
            continue
        if outcome.metrics is None:
            observer.notify(Note(f"control {name} gave nothing: {outcome.reason}"))
            continue
        yield name, outcome.metrics.accuracy


def _specs(prepared: Prepared, best: Candidate) -> Iterator[tuple[str, TrialSpec | None]]:
    """Every arm asked for; None for one that would be the candidate itself."""
    run, recipe = prepared.run, prepared.recipe
    common = TrialSpec(
        run=str(run.path),
        folder="",
        plan=best.plan,
        number=best.trial or 0,
        seed=recipe.search.seed,
        kind="control",
        threads=recipe.search.threads,
        timeout=recipe.search.timeout,
    )
    if recipe.controls.scratch:
        folder = str(run.control(best.digest, "scratch"))
        yield "scratch", replace(common, folder=folder, kind="scratch", source=str(run.candidate(best.digest)))
    if recipe.controls.random:
        plan = _other(best.plan, prepared)
        folder = str(run.control(best.digest, "random"))
        yield "random", None if plan is None else replace(common, folder=folder, plan=plan)
    if recipe.controls.undistilled:
        plan = undistilled(best.plan)
        yield "undistilled", replace(common, folder=str(run.control(best.digest, "undistilled")), plan=plan)
    if recipe.controls.unchanged:
        yield "unchanged", replace(common, folder=str(run.control(best.digest, "unchanged")), plan=unchanged(best.plan))


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
