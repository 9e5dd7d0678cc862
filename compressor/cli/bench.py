"""``compressor bench``: which of several ONNX files is faster, by how much, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compressor.cli.draw import draw
from compressor.cli.options import Json
from compressor.cli.output import Output, output
from compressor.report import text
from compressor.report.table import Table, table

if TYPE_CHECKING:
    from compressor.measure.latency import Comparison

MARGIN = 1.02
"""A file counts as faster, or slower, when the whole interval lies beyond two percent."""


@dataclass(frozen=True)
class Timed:
    """One file against the first one."""

    file: Path
    size_bytes: int
    comparison: Comparison

    @property
    def verdict(self) -> str:
        timing = self.comparison
        if not timing.rankable:
            return "too short to tell"
        return "faster" if timing.low > MARGIN else "slower" if timing.high < 1 / MARGIN else "no difference shown"


def bench(
    files: Annotated[list[Path], typer.Argument(metavar="A.onnx [B.onnx …]", help="ONNX files.", show_default=False)],
    batch: Annotated[int, typer.Option("--batch", min=1, help="Samples per call.")] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Seeds the inputs and the order of calls.")] = 0,
    as_json: Json = False,
) -> None:
    """Time ONNX files in ONNX Runtime: thread CPU time per call, and the ratio to the first file (95 % interval)."""
    with output(as_json) as out:
        timed = _time(files, batch, seed, out)
        if as_json:
            out.document([_as_data(entry, first=number == 0) for number, entry in enumerate(timed)])
        else:
            _show(timed, batch, out)


def _time(files: Sequence[Path], batch: int, seed: int, out: Output) -> list[Timed]:
    """Every file against the first one; the first against itself, for its own times."""
    from compressor.measure.latency import compare
    from compressor.measure.session import OnnxModel

    for file in files:  # before anything is measured
        OnnxModel(file).feeds(batch)
    timed = []
    for number, file in enumerate(files, start=1):
        if len(files) > 1:
            out.note(f"timing {number}/{len(files)}: {file}")
        timed.append(Timed(file, file.stat().st_size, compare(files[0], file, batch=batch, seed=seed)))
    return timed


def _as_data(entry: Timed, *, first: bool) -> dict[str, Any]:
    timing = entry.comparison
    return {
        "file": str(entry.file),
        "size_bytes": entry.size_bytes,
        "us": timing.candidate_us,
        "wall_us": timing.candidate_wall_us,
        "wall_p90_us": timing.candidate_p90_us,
        "speedup": 1.0 if first else timing.speedup,
        "low": 1.0 if first else timing.low,
        "high": 1.0 if first else timing.high,
        "verdict": "first" if first else entry.verdict,
        "rounds": timing.rounds,
        "sessions": timing.sessions,
        "load": timing.load,
        "notes": list(timing.notes),
    }


def _show(timed: Sequence[Timed], batch: int, out: Output) -> None:
    draw(out.results, _table(timed))
    rounds = sorted({entry.comparison.rounds for entry in timed})
    shown = str(rounds[0]) if len(rounds) == 1 else f"{rounds[0]}–{rounds[-1]}"
    sessions = timed[0].comparison.sessions
    out.line(
        f"CPU: thread time per call of {text.plural(batch, 'sample')}, one thread. wall: median and 90th percentile."
    )
    out.line(f"Ratios are paired medians with 95 % intervals: {shown} rounds in {sessions} pairs of sessions.")
    for note in sorted({note for entry in timed for note in entry.comparison.notes}):
        out.line(f"Note: {note}.")


def _table(timed: Sequence[Timed]) -> Table:
    names = _names([entry.file for entry in timed])
    rows = []
    for number, (name, entry) in enumerate(zip(names, timed, strict=True)):
        timing = entry.comparison
        ratio = (text.times(timing.speedup), text.interval(timing.low, timing.high), entry.verdict)
        rows.append((
            name,
            text.size(entry.size_bytes),
            text.micros(timing.candidate_us),
            text.micros(timing.candidate_wall_us),
            text.micros(timing.candidate_p90_us),
            *(ratio if number else ("1×", "", "")),
        ))  # fmt: skip
    return table("file, >size, >CPU, >wall, >p90, >speed, >95 %, verdict", rows)


def _names(files: Sequence[Path]) -> list[str]:
    """What tells the files apart: paths without the parts they all begin and end with."""
    parts = [file.parts for file in files]
    if len(set(parts)) < 2:
        return [file.name for file in files]
    shortest = min(len(part) for part in parts)
    head = next(n for n in range(shortest + 1) if n == shortest or len({part[n] for part in parts}) > 1)
    most = max(shortest - head - 1, 0)  # something must be left of every path
    tail = next(n for n in range(most + 1) if n == most or len({part[-1 - n] for part in parts}) > 1)
    return [str(Path(*part[head : len(part) - tail])) for part in parts]
