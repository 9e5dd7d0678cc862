"""The figures for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.cli.draw import draw
from compressor.report import text
from compressor.report.table import Table, table

if TYPE_CHECKING:
    from compressor.api.bench import Timed
    from compressor.cli.output import CommandOutput
    from compressor.runtime import Setting


def bench_data(entry: Timed, setting: Setting, limit: float | None, *, first: bool) -> dict[str, Any]:
    from compressor.measure.latency import WARM_UP_CALLS, clock_of

    timing, facts = entry.comparison, entry.facts
    judged = {} if limit is None else {"too_slow": not first and timing.speedup < limit}
    placed, nodes = facts.placed
    return {
        "file": str(entry.file),
        "size_bytes": facts.size_bytes,
        "memory_bytes": facts.memory_bytes,
        "us": timing.candidate_us,
        "wall_us": timing.candidate_wall_us,
        "wall_p90_us": timing.candidate_p90_us,
        "speedup": 1.0 if first else timing.speedup,
        "low": 1.0 if first else timing.low,
        "high": 1.0 if first else timing.high,
        "verdict": "first" if first else entry.verdict,
        **judged,
        "clock": clock_of(setting),
        "threads": setting.threads,
        "provider": setting.provider,
        "nodes_on_provider": [placed, nodes] if nodes else None,
        "inputs": [{"name": name, "type": kind, "shape": list(shape)} for name, kind, shape in facts.inputs],
        "warmup_calls": WARM_UP_CALLS,
        "rounds": timing.rounds,
        "sessions": timing.sessions,
        "load": timing.load,
        "notes": list(timing.notes),
    }


def show(timed: Sequence[Timed], setting: Setting, data: Path | None, out: CommandOutput) -> None:
    from compressor.measure.latency import WARM_UP_CALLS, clock_of

    by_thread = clock_of(setting) == "thread"
    draw(out.results, _table(timed, by_thread))
    out.paragraph(_inputs(timed[0], data))
    out.paragraph(_clock(setting, by_thread))
    rounds = sorted({entry.comparison.rounds for entry in timed})
    shown = str(rounds[0]) if len(rounds) == 1 else f"{rounds[0]}–{rounds[-1]}"
    out.paragraph(
        f"Ratios are paired medians with 95 % intervals: {shown} rounds in {timed[0].comparison.sessions} pairs of "
        f"sessions. Warm-up: {WARM_UP_CALLS} calls in every session, and one before every block that is timed."
    )
    if any(entry.facts.memory_bytes is not None for entry in timed):
        out.paragraph("memory: by how much loading and running the file raises the process at its peak.")
    for note in sorted({note for entry in timed for note in _notes(entry, setting)}):
        out.paragraph(f"Note: {note}.")


def _inputs(first: Timed, data: Path | None) -> str:
    from compressor.measure.inputs import is_float, sizes_in_words

    kinds = [kind for _, kind, _ in first.facts.inputs]
    shown = ", ".join(f"{name} {sizes_in_words(shape)} {kind}" for name, kind, shape in first.facts.inputs) or "none"
    drawn = ["normal floats"] if any(map(is_float, kinds)) else []
    drawn += ["whole numbers 0 and 1"] if not all(map(is_float, kinds)) else []
    values = f"values of {data}, what it lacks random" if data else f"random: {' and '.join(drawn) or 'nothing'}"
    return f"Inputs: {shown} ({values})."


def _clock(setting: Setting, by_thread: bool) -> str:
    if by_thread:
        return "CPU: thread time per call, one thread. wall: median and 90th percentile."
    where = f"{text.plural(setting.threads, 'thread')} of the CPU" if setting.short == "cpu" else setting.short
    kept = "; inputs and outputs stay on the device" if setting.device != "cpu" else ""
    return f"wall: time per call until its outputs are there, median and 90th percentile; {where}{kept}."


def _notes(entry: Timed, setting: Setting) -> list[str]:
    from compressor.measure.latency import clock_of

    notes = list(entry.comparison.notes)
    if clock_of(setting) == "wall":
        notes.append(
            "with one thread of the CPU, ratios are of CPU time; these are of wall time, which other load distorts"
        )
    placed, nodes = entry.facts.placed
    if placed < nodes:
        notes.append(f"{entry.file}: {placed} of {nodes} nodes run on {setting.provider}, the others on the CPU")
    return notes


def _table(timed: Sequence[Timed], by_thread: bool) -> Table:
    names = names_of([entry.file for entry in timed])
    rows = []
    for number, (name, entry) in enumerate(zip(names, timed, strict=True)):
        timing, memory = entry.comparison, entry.facts.memory_bytes
        ratio = (text.times(timing.speedup), text.interval(timing.low, timing.high), entry.verdict)
        rows.append((
            name,
            text.size(entry.facts.size_bytes),
            "" if memory is None else text.size(memory),
            *((text.micros(timing.candidate_us),) if by_thread else ()),
            text.micros(timing.candidate_wall_us),
            text.micros(timing.candidate_p90_us),
            *(ratio if number else ("1×", "", "")),
        ))  # fmt: skip
    return table(f"file, >size, >memory, {'>CPU, ' if by_thread else ''}>wall, >p90, >speed, >95 %, verdict", rows)


def names_of(files: Sequence[Path]) -> list[str]:
    """What tells the files apart: paths without the parts they all begin and end with."""
    parts = [file.parts for file in files]
    if len(set(parts)) < 2:
        return [file.name for file in files]
    shortest = min(len(part) for part in parts)
    head = next(n for n in range(shortest + 1) if n == shortest or len({part[n] for part in parts}) > 1)
    most = max(shortest - head - 1, 0)  # something must be left of every path
    tail = next(n for n in range(most + 1) if n == most or len({part[-1 - n] for part in parts}) > 1)
    return [str(Path(*part[head : len(part) - tail])) for part in parts]
