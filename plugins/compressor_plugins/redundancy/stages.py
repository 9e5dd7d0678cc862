"""The three stages as tables: what the pixels are worth, what a mask costs, what the student keeps.

Stage 1 is the pilot study, stage 2 the trials after their first phase, by the mask of their stem, stage 3 the best
candidate beside its control arms. The masks are marked by what stage 1 found; it does not forbid any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from compressor.engine.candidate import StageFigures
from compressor.engine.plan import Edit
from compressor.report import text
from compressor.report.gather import Facts, Trial
from compressor.report.section import Section
from compressor.report.table import Table, table
from compressor.search.result import Candidate, PilotResult
from compressor.task import Quality
from compressor_plugins.redundancy.judging import FOUND, Tilings, Variant
from compressor_plugins.redundancy.tilings import REFERENCE

if TYPE_CHECKING:
    from compressor_plugins.redundancy.study import Redundancy

MASKING, MASK = "input-mask", "mask"
"""The plugin whose edits stage 2 is about, and the knob that names the mask."""
_STUDENT_COLUMNS = "arm, >validation, >test, >parameters, >change, >speed, >95 %"
_ARMS = {
    "undistilled": "student, labels",
    "scratch": "student, scratch",
    "unchanged": "teacher, longer",
    "random": "edits at random",
}


def sections(spec: Redundancy, facts: Facts) -> list[Section]:
    """The stages that a run went through."""
    pilot = facts.result.pilot
    if pilot is None:
        return []
    tilings = FOUND.from_plain(pilot.found)
    lines = tuple(_tiling_lines(spec, pilot, tilings))
    found = [Section("Stage 1: are there pixels to spare?", lines, tilings_table(tilings))]
    masks = masks_table(facts, tilings)
    if masks is not None:
        found.append(Section("Stage 2: masks", tuple(_mask_lines(facts, tilings)), masks))
    if facts.result.best is not None:
        found.append(Section("Stage 3: the student", tuple(_student_lines(facts)), student_table(facts)))
    elif pilot.applies and (students := _beyond_limits(facts)):
        line = "No student keeps within the limits. The nearest, by validation quality:"
        found.append(Section("Stage 3: the student", (line,), _table_of_students(facts, students)))
    return found


# --- stage 1 -----------------------------------------------------------------------------------------------------


def tilings_table(tilings: Tilings) -> Table:
    """A row per tiling, the whole image first; changes against it, with their standard error."""
    rows = [_tiling_row(variant) for variant in tilings.variants]
    marked = next(
        (n for n, v in enumerate(tilings.variants) if v.redundant and v.dropped == tilings.dropped and v.dropped), None
    )
    return table("tiling, >dropped, fill, >error, >change, >loss, >change of loss, verdict", rows, marked=marked)


def _tiling_row(variant: Variant) -> tuple[str, ...]:
    reference = variant.name == REFERENCE
    spread = f" ±{100 * variant.error_spread:.1f}" if variant.error_spread else ""
    return (
        variant.name,
        text.percent(variant.dropped, 0),
        text.NONE if reference else variant.fill,
        text.percent(variant.error, 1),
        text.NONE if reference else f"{text.points(variant.error_change)}{spread}",
        f"{variant.loss:.3f}",
        text.NONE if reference else f"{variant.loss_change:+.3f}".replace("-", "−"),
        "reference" if reference else "to spare" if variant.redundant else "needed",
    )


def _tiling_lines(spec: Redundancy, pilot: PilotResult, tilings: Tilings) -> Iterator[str]:
    yield f"Data: {pilot.data}."
    yield (
        f"{text.plural(pilot.arms, 'training')}: {text.plural(len(tilings.variants), 'tiling')} × "
        f"{text.plural(spec.sets, 'set')} of {spec.draw} × {text.plural(spec.repeats, 'repeat')}, "
        f"{text.plural(spec.epochs, 'epoch')} each, from "
        f"{'new weights' if spec.start == 'scratch' else 'the trained weights'}; validation images, tiled alike. "
        "Changes are in points of error and nats of loss, each against the whole image with the same set and seed; "
        "± is one standard error."
    )
    yield f"{pilot.reason[:1].upper()}{pilot.reason[1:]}."


# --- stage 2 -----------------------------------------------------------------------------------------------------


def masks_table(facts: Facts, tilings: Tilings) -> Table | None:
    """Every mask that was tried, after the phase that put it in; None where none was."""
    base = facts.result.baseline
    tried = sorted(_masks(facts), key=lambda entry: (pixels_dropped(entry[0]), -entry[1].quality))
    if not tried:
        return None
    rows = [_mask_row("none, baseline", 0.0, base.quality.validation, base.macs, base, "reference")]
    reference = _reference(facts, tried[0][1])
    if reference is not None:
        rows.append(_mask_row("none, trained on", 0.0, reference.quality, reference.macs, base, "reference"))
    for mask, figures in tried:
        dropped = pixels_dropped(mask)
        verdict = "within" if dropped <= tilings.dropped else "beyond"
        rows.append(_mask_row(mask, dropped, figures.quality, figures.macs, base, verdict))
    best = max(range(len(tried)), key=lambda number: tried[number][1].quality)
    return table(
        "mask, >dropped, >validation, >error, >change, >MACs, stage 1", rows, marked=len(rows) - len(tried) + best
    )


def _mask_row(name: str, dropped: float, quality: float, macs: int, base: Candidate, verdict: str) -> tuple[str, ...]:
    return (
        name,
        text.percent(dropped, 0),
        text.percent(quality),
        text.percent(1 - quality),
        text.points(base.quality.validation - quality),
        text.short_count(macs),
        verdict,
    )


def _mask_lines(facts: Facts, tilings: Tilings) -> Iterator[str]:
    tried = list(_masks(facts))
    best, figures = max(tried, key=lambda entry: entry[1].quality)
    yield (
        f"Each mask after the phase that put it in ({text.plural(figures.epochs, 'epoch')}), on validation images. "
        f"The lowest error has {best}, which drops {pixels_dropped(best):.0%} of the pixels; "
        f"stage 1 found {tilings.dropped:.0%} to spare. One training each: the order of close ones is chance."
    )


def _masks(facts: Facts) -> Iterator[tuple[str, StageFigures]]:
    """By mask: the figures when its phase was over; the trial with the best where one was tried more than once."""
    found: dict[str, StageFigures] = {}
    for trial in facts.trials:
        phase, mask = _masked_in(trial)
        for figures in trial.outcome.stages:
            better = mask not in found or figures.quality > found[mask].quality
            if mask and figures.phase == phase and figures.round == 1 and better:
                found[mask] = figures
    yield from found.items()


def _masked_in(trial: Trial) -> tuple[str, str]:
    """The phase that masks the stem, and the mask; empty where none does."""
    for phase in trial.plan.parts:
        for step in phase.steps:
            if isinstance(step, Edit) and step.plugin == MASKING and MASK in step.choice:
                return phase.name, str(step.choice[MASK])
    return "", ""


def _reference(facts: Facts, like: StageFigures) -> StageFigures | None:
    """The unmasked network, trained on for the same phase."""
    outcome = facts.controls.get("unchanged")
    stages = outcome.stages if outcome is not None else ()
    return next((figures for figures in stages if (figures.phase, figures.round) == (like.phase, like.round)), None)


def pixels_dropped(mask: str) -> float:
    """Share of the pixels of a 2×2 cell that no tap of the mask reads: ``010111010`` → 0.25, ``1001`` → 0.5."""
    if len(mask) != 9:
        return mask.count("0") / max(len(mask), 1)
    read = {(place // 3 % 2, place % 3 % 2) for place, tap in enumerate(mask) if tap == "1"}
    return 1 - len(read) / 4


# --- stage 3 -----------------------------------------------------------------------------------------------------


def student_table(facts: Facts) -> Table:
    """Teacher, student and what the same training gives without the method."""
    result = facts.result
    best, base = result.best, result.baseline
    assert best is not None
    rows = [_arm_row("teacher", base.quality, base, base), _arm_row("student", best.quality, best, base)]
    sizes: Mapping[str, Candidate] = {"unchanged": base}
    rows += [
        _arm_row(_ARMS.get(name, name), quality, sizes.get(name, best), base)
        for name, quality in result.controls.items()
    ]
    return table(_STUDENT_COLUMNS, rows, marked=1)


def _beyond_limits(facts: Facts) -> list[Candidate]:
    """Students that were trained to the end, the best first."""
    ended = [
        Candidate.of(trial.outcome.metrics, trial.plan, digest=trial.digest, trial=trial.number)
        for trial in facts.trials
        if trial.outcome.status == "complete" and trial.outcome.metrics is not None
    ]
    return sorted(ended, key=lambda candidate: -candidate.quality.validation)[:3]


def _table_of_students(facts: Facts, students: list[Candidate]) -> Table:
    base = facts.result.baseline
    rows = [_arm_row("teacher", base.quality, base, base)]
    rows += [_arm_row(f"trial {student.trial}", student.quality, student, base) for student in students]
    return table(_STUDENT_COLUMNS, rows)


def _arm_row(name: str, quality: Quality, size: Candidate, base: Candidate) -> tuple[str, ...]:
    fewer = size.params / base.params - 1
    latency = size.latency
    return (
        name,
        quality.show("validation"),
        quality.show("test"),
        text.count(size.params),
        text.NONE if size is base else f"{100 * fewer:+.1f} %".replace("-", "−"),
        text.NONE if size is base else text.times(latency.speedup),
        text.NONE if size is base else text.interval(latency.low, latency.high),
    )


def _student_lines(facts: Facts) -> Iterator[str]:
    best = facts.result.best
    assert best is not None
    yield f"The best candidate: {best.about}. Test figures of the student are those of the final measurement."
    if facts.result.controls:
        yield (
            "Control arms, scored on validation images: the student's plan on labels alone; its architecture from new "
            "weights; the teacher itself, trained on as long. What the controls do as well the method did not earn."
        )
