"""The tables of a run: the front, the finalists, before against after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from compressor.engine.candidate import Metrics, overstepped
from compressor.engine.plan import Edit, Plan
from compressor.report import text
from compressor.report.table import Table, table
from compressor.search.result import Candidate, RunResult
from compressor.task import Quality


def front_table(front: Sequence[Candidate], baseline: Candidate, *, title: str = "", best: str = "") -> Table:
    """The candidates and the baseline below them, narrow; ``best`` is the digest of the one that stands out.

    Quality is that of the test split where it was opened, else of the validation split: the column says which.
    """
    tested = baseline.quality.test is not None and all(candidate.quality.test is not None for candidate in front)
    split: Literal["test", "validation"] = "test" if tested else "validation"
    rows = [_front_row(candidate, baseline, split, best) for candidate in front]
    rows.append(("base", baseline.quality.show(split), text.size(baseline.size_bytes), "1×", "1×", "unchanged"))
    marked = next((number for number, candidate in enumerate(front) if best and candidate.digest == best), None)
    return table(f"trial, >{split}, >size, >smaller, >speed, plan", rows, title=title, marked=marked)


def _front_row(
    candidate: Candidate, baseline: Candidate, split: Literal["test", "validation"], best: str
) -> tuple[str, ...]:
    name = text.NONE if candidate.trial is None else str(candidate.trial)
    return (
        f"{name} best" if best and candidate.digest == best else name,
        candidate.quality.show(split),
        text.size(candidate.size_bytes),
        text.times(baseline.size_bytes / candidate.size_bytes),
        text.times(candidate.latency.speedup),
        candidate.about,
    )


def finalists_table(result: RunResult) -> Table:
    """Every finalist with all its figures, the baseline on top."""
    rows = [_full_row("baseline", result.baseline, result.baseline)]
    rows += [_full_row(_name(candidate), candidate, result.baseline) for candidate in result.front]
    marked = next(
        (n for n, c in enumerate(result.front, start=1) if result.best and c.digest == result.best.digest), None
    )
    columns = "trial, >validation, >test, >ONNX, >bytes, >smaller, >parameters, >MACs, >time, >speed-up, >95 %, plan"
    keys = ("baseline", *(finalist(candidate) for candidate in result.front))
    return table(columns, rows, marked=marked, keys=keys)


def finalist(candidate: Candidate) -> str:
    """What the row of a finalist is called, for what leads to it."""
    return f"finalist-{_name(candidate)}"


def _name(candidate: Candidate) -> str:
    return candidate.digest if candidate.trial is None else str(candidate.trial)


def _full_row(name: str, candidate: Candidate, baseline: Candidate) -> tuple[str, ...]:
    quality, latency = candidate.quality, candidate.latency
    return (
        name,
        quality.show("validation"),
        quality.show("test"),
        quality.show("onnx"),
        text.count(candidate.size_bytes),
        text.times(baseline.size_bytes / candidate.size_bytes),
        text.count(candidate.params),
        text.short_count(candidate.macs),
        text.micros(latency.us),
        text.times(latency.speedup),
        text.interval(latency.low, latency.high),
        candidate.about,
    )


def comparison_table(best: Candidate, baseline: Candidate) -> Table:
    """Baseline against best, a figure per row."""
    before, after = baseline, best
    rows = [
        (
            "ONNX file",
            text.size(before.size_bytes),
            text.size(after.size_bytes),
            _smaller(before.size_bytes, after.size_bytes),
        ),
        ("parameters", text.count(before.params), text.count(after.params), _smaller(before.params, after.params)),
        ("MACs", text.short_count(before.macs), text.short_count(after.macs), _smaller(before.macs, after.macs)),
        ("time per call", text.micros(before.latency.us), text.micros(after.latency.us), _speed(after)),
        *_quality_rows(before.quality, after.quality),
    ]
    return table("figure, >before, >after, >change", rows)


def misses_table(trials: Sequence[tuple[str, str, Metrics, Mapping[str, float]]], baseline: Candidate) -> Table:
    """What was trained, by name and plan, beside the baseline, and by how much each missed which limit."""
    rows = [("base", baseline.quality.show("validation"), text.size(baseline.size_bytes), "1×", "", "unchanged")]
    for name, about, metrics, excess in trials:
        rows.append(
            (
                name,
                metrics.quality.show("validation"),
                text.size(metrics.size_bytes),
                text.times(metrics.latency.speedup),
                overstepped(excess, baseline.quality.measured),
                about,
            )
        )
    return table("trial, >validation, >size, >speed, misses, plan", rows)


def _quality_rows(before: Quality, after: Quality) -> list[tuple[str, ...]]:
    metric = before.measured
    rows: list[tuple[str, ...]] = []
    for name, old, new in (
        (f"{metric.name}, validation", before.validation, after.validation),
        (f"{metric.name}, test", before.test, after.test),
        (f"{metric.name}, test, ONNX", before.onnx, after.onnx),
    ):
        if old is not None and new is not None:
            rows.append((name, metric.text(old), metric.text(new), text.change(metric, old, new)))
    for part, new in after.parts.items():
        old = before.parts.get(part)
        if old is not None:
            rows.append(
                (
                    f"{metric.name}, validation: {part}",
                    metric.text(old),
                    metric.text(new),
                    text.change(metric, old, new),
                )
            )
    return rows


def _smaller(before: float, after: float) -> str:
    if before == after or not after:
        return "same" if before == after else text.NONE
    if abs(after / before - 1) < 0.05:
        return f"{100 * (after / before - 1):+.1f} %".replace("-", "−")
    return f"{text.times(before / after)} smaller" if after < before else f"{text.times(after / before)} larger"


def _speed(after: Candidate) -> str:
    latency = after.latency
    return f"{text.times(latency.speedup)} ({text.interval(latency.low, latency.high)})"


def edits_table(plan: Plan) -> Table:
    """Every step of a plan in order."""
    rows = []
    for phase in plan.parts:
        for step in phase.steps:
            place, values = (step.site, step.choice) if isinstance(step, Edit) else (step.policy, step.values)
            rows.append((phase.name, step.plugin, place, ", ".join(f"{k} = {v}" for k, v in values.items())))
    return table("phase, plugin, site, values", rows)


def controls_table(controls: Mapping[str, Quality], best: Candidate) -> Table:
    """Control arms against the best candidate; quality on validation and, where it was opened, test data."""
    rows = [("best candidate", best.quality.show("validation"), best.quality.show("test"))]
    rows += [(name, arm.show("validation"), arm.show("test")) for name, arm in controls.items()]
    return table("arm, >validation, >test", rows, marked=0)
