"""One candidate in plain words: what was done to which layer, why there, what it cost and what it brought."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from compressor.engine.candidate import StageFigures, overstepped
from compressor.engine.plan import Decision, Edit
from compressor.engine.sensitivity import Sensitivities, SiteSensitivity, rank
from compressor.errors import InputError
from compressor.knobs import Choices
from compressor.report import text
from compressor.report.gather import Facts, Trial
from compressor.report.layers import LayerChange
from compressor.report.section import Section
from compressor.report.sites import covered
from compressor.report.table import Table, table
from compressor.report.tables import comparison_table
from compressor.report.verdict import gains
from compressor.search.result import Candidate
from compressor.task import Quality

FIGURES = "What it cost and brought"
"""The section whose table sets the candidate beside the baseline."""
SPOKEN = 12
"""Layers that are told of in sentences; of more than that the first ones, and how many are left."""


def chosen_trial(facts: Facts, name: str = "") -> Trial:
    """The trial with this number or the beginning of this digest; without a name the best. Raises ``InputError``."""
    best = facts.result.best
    if not name and best is None:
        raise InputError(
            f"{facts.folder}: no candidate keeps within the limits; name the one to explain{_known(facts)}"
        )
    wanted = name or (best.digest if best else "")
    found = [trial for trial in facts.trials if trial.name == wanted or trial.digest == wanted]
    if not found and len(wanted) > 3:
        found = [trial for trial in facts.trials if trial.digest.startswith(wanted)]
    if len(found) > 1:
        raise InputError(f"{facts.folder}: several candidates begin with {wanted!r}; give more letters")
    if not found:
        raise InputError(f"{facts.folder}: no candidate is called {wanted!r}{_known(facts)}")
    return found[0]


def _known(facts: Facts) -> str:
    names = [trial.name for trial in facts.trials]
    return f"; there are {', '.join(names[:20])}{' …' if len(names) > 20 else ''}" if names else "; there is none"


def explain(facts: Facts, trial: Trial, changes: Sequence[LayerChange]) -> list[Section]:
    """``changes``: the baseline against this candidate, layer by layer; empty where it has no file."""
    made = (
        Section("What it is", tuple(_what(facts, trial))),
        Section("What was done", tuple(_done(trial, changes))),
        Section("Why there", tuple(_why(facts, trial)), _sites(facts, trial)),
        Section(FIGURES, tuple(_brought(facts, trial)), _figures(facts, trial)),
    )
    return [section for section in made if section.lines or section.content]


# --- what it is --------------------------------------------------------------------------------------------------


def _what(facts: Facts, trial: Trial) -> Iterator[str]:
    result, outcome = facts.result, trial.outcome
    over = overstepped(outcome.excess, result.baseline.quality.measured)
    yield f"Trial {trial.name}: {trial.about or 'its plan could not be read'}."
    finalists = [candidate.digest for candidate in result.front]
    if result.best is not None and trial.digest == result.best.digest:
        yield (
            "It is the best: of the candidates within the limits that nothing beats in every figure, the one with the "
            "smallest product of size and time that keeps its quality with some to spare."
        )
    elif trial.digest in finalists:
        yield f"It is one of {len(finalists)} finalists: nothing beats it in every figure."
    elif outcome.status != "complete":
        yield f"It {_ENDED[outcome.status]}: {outcome.reason or over or 'nobody said why'}."
    elif not outcome.within():
        yield f"It was trained, and misses {over}."
    else:
        yield "It keeps within the limits, but another candidate is at least as good in every figure."


_ENDED = {
    "screened": "was not trained, since a limit was overstepped before",
    "stopped": "was stopped by a gate",
    "failed": "failed",
    "complete": "ended",
}


# --- what was done -----------------------------------------------------------------------------------------------


def _done(trial: Trial, changes: Sequence[LayerChange]) -> Iterator[str]:
    for phase in trial.plan.parts:
        for plugin, steps in groupby(phase.steps, key=lambda step: step.plugin):
            where = "" if len(trial.plan.parts) == 1 else f"Phase {phase.name}: "
            yield f"{where}{plugin} at {', '.join(map(_step, steps))}."
    changed = [change for change in changes if change.kind != "same"]
    yield from map(_change, changed[:SPOKEN])
    if len(changed) > SPOKEN:
        yield f"… and {text.plural(len(changed) - SPOKEN, 'layer')} more, all of them in report.html."
    if changes:
        yield f"{text.plural(len(changes) - len(changed), 'layer')} of {len(changes)} stayed as they were."


def _step(step: Edit | Decision) -> str:
    place, values = (step.site, step.choice) if isinstance(step, Edit) else (step.policy, step.values)
    shown = ", ".join(f"{key} = {value}" for key, value in values.items())
    return f"{place} ({shown})" if shown else place


def _change(change: LayerChange) -> str:
    before, after = change.before, change.after
    if before is None or after is None:
        known = before or after
        assert known is not None
        return f"{change.path} is {change.kind}: {known.describe()}, {text.size(known.bytes)}."
    if before.describe() == after.describe():
        return f"{change.path}: {after.describe()}, {text.size(before.bytes)} → {text.size(after.bytes)}."
    return (
        f"{change.path}: {before.describe()} became {after.describe()}, "
        f"{text.size(before.bytes)} → {text.size(after.bytes)}."
    )


# --- why there ---------------------------------------------------------------------------------------------------


def _why(facts: Facts, trial: Trial) -> Iterator[str]:
    for plugin, sites in _by_plugin(trial.plan.edits).items():
        known = _known_sites(facts.sensitivities, plugin, sites)
        order = rank(list(known), known, 1.0)
        acted = [path for path in order if path in sites]
        if not acted:
            continue
        left = [path for path in order if path not in sites and known[path].saving > 0]
        yield (
            f"{plugin} could act on {text.plural(len(known), 'site')}, each tried alone before the first trial; "
            f"{len(acted)} of them {'was' if len(acted) == 1 else 'were'} rewritten here."
        )
        if order[: len(acted)] == acted:
            yield "They are those that cost the least loss for what they save."
        elif left and order.index(left[0]) < order.index(acted[-1]):
            yield f"Site {left[0]} would have cost less loss for what it saves than {acted[-1]}, and was left alone."
        if left:
            path = max(left, key=lambda path: known[path].loss_increase)
            loss = text.signed(known[path].loss_increase, 3)
            yield f"Of the others site {path} would have cost most: {loss} of loss by itself."


def _sites(facts: Facts, trial: Trial) -> Table | None:
    """Every site that was rewritten, with what was known of it before."""
    order = facts.wiring[0].order
    total = sum(facts.times.before.values())
    rows = []
    for plugin, sites in _by_plugin(trial.plan.edits).items():
        known = _known_sites(facts.sensitivities, plugin, sites)
        ranks = {path: number for number, path in enumerate(rank(list(known), known, 1.0), start=1)}
        for site in sites:
            entry = known.get(site)
            time = sum(facts.times.before.get(path, 0.0) for path in covered(site, order))
            rows.append(
                (
                    site,
                    plugin,
                    text.NONE if entry is None else text.signed(entry.loss_increase, 3),
                    text.NONE if entry is None else text.percent(entry.bytes_saved, 1),
                    text.percent(time / total, 1) if total else text.NONE,
                    f"{ranks[site]} of {len(ranks)}" if site in ranks else text.NONE,
                )
            )
    return table("site, plugin, >loss, >bytes saved, >of the time, >rank", rows) if rows else None


def _by_plugin(edits: Sequence[Edit]) -> dict[str, dict[str, Choices]]:
    """The sites of each plugin, in order, with the values of their knobs."""
    found: dict[str, dict[str, Choices]] = {}
    for edit in edits:
        found.setdefault(edit.plugin, {})[edit.site] = edit.choice
    return found


def _known_sites(
    sensitivities: Sensitivities, plugin: str, chosen: Mapping[str, Choices]
) -> dict[str, SiteSensitivity]:
    """Of a plugin, whatever its options: each site at the values ``chosen`` for it, others at their first."""
    return {
        path: entry.at(chosen[path]) if path in chosen else entry
        for key, entries in sensitivities.entries.items()
        if key.partition(" ")[0] == plugin
        for path, entry in entries.items()
    }


# --- what it cost and brought ------------------------------------------------------------------------------------


def _brought(facts: Facts, trial: Trial) -> Iterator[str]:
    candidate = _candidate(facts, trial)
    if candidate is not None:
        yield gains(candidate, facts.result.baseline)
    base = facts.result.baseline.quality
    for figures in trial.outcome.stages:
        yield _stage(figures, base)
    if trial.outcome.seconds:
        parts = ", ".join(f"{name} {text.duration(seconds)}" for name, seconds in trial.outcome.seconds.items())
        yield f"It took {text.duration(trial.seconds)}: {parts}."
    best = facts.result.best
    if best is not None and trial.digest == best.digest:
        for name, control in facts.result.controls.items():
            change = text.change(base.measured, control.validation, best.quality.validation)
            yield f"The control {name} came to {control.show('validation')}: beside it the method is at {change}."


def _stage(figures: StageFigures, base: Quality) -> str:
    again = f", round {figures.round}" if figures.round > 1 else ""
    return (
        f"After phase {figures.phase}{again} ({text.plural(figures.edits, 'edit')}, "
        f"{text.plural(figures.epochs, 'epoch')}): {base.measured.text(figures.quality)} on validation data "
        f"({text.change(base.measured, base.validation, figures.quality)}), {text.size(figures.size_bytes)}."
    )


def _figures(facts: Facts, trial: Trial) -> Table | None:
    candidate = _candidate(facts, trial)
    return None if candidate is None else comparison_table(candidate, facts.result.baseline)


def _candidate(facts: Facts, trial: Trial) -> Candidate | None:
    """With its final figures where it has any; None for what was never trained."""
    for candidate in facts.result.front:
        if candidate.digest == trial.digest:
            return candidate
    if trial.outcome.metrics is None or trial.outcome.status not in ("complete", "stopped"):
        return None
    return Candidate.of(trial.outcome.metrics, trial.plan, digest=trial.digest, trial=trial.number)
