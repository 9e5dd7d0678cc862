"""``compressor bench``: which of several ONNX files is faster, by how much, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from compressor.cli.draw import draw
from compressor.cli.options import Json
from compressor.cli.output import Output, output
from compressor.report import text
from compressor.report.table import Table, table

if TYPE_CHECKING:
    from compressor.measure.latency import Comparison

R = TypeVar("R")
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


MEMORY = 8.0
"""GiB a file may ask for in all its sessions, unless the user says otherwise."""
SECONDS = 60.0
"""How long loading a file, or a call of it, may take."""


def bench(
    files: Annotated[list[Path], typer.Argument(metavar="A.onnx [B.onnx …]", help="ONNX files.", show_default=False)],
    batch: Annotated[int, typer.Option("--batch", min=1, help="Samples per call.")] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Seeds the inputs and the order of calls.")] = 0,
    memory: Annotated[
        float, typer.Option("--memory", min=0.1, metavar="GiB", help="Memory that running a file may take.")
    ] = MEMORY,
    seconds: Annotated[
        float, typer.Option("--seconds", min=1.0, help="Seconds that loading a file, or one call of it, may take.")
    ] = SECONDS,
    as_json: Json = False,
) -> None:
    """Time ONNX files in ONNX Runtime: thread CPU time per call, and the ratio to the first file (95 % interval)."""
    with output(as_json) as out:
        timed = _time(files, batch, seed, _Limits(memory, seconds), out)
        if as_json:
            out.document([_as_data(entry, first=number == 0) for number, entry in enumerate(timed)])
        else:
            _show(timed, batch, out)


@dataclass(frozen=True)
class _Limits:
    memory: float
    seconds: float


def _time(files: Sequence[Path], batch: int, seed: int, limits: _Limits, out: Output) -> list[Timed]:
    """Every file against the first one; the first against itself, for its own times."""
    from compressor.graph.onnx_in.file import stored_bytes
    from compressor.measure.latency import bound_call, compare
    from compressor.measure.session import OnnxModel

    def size(file: Path) -> int:
        """Once it is clear, before anything is measured, that the file runs."""
        bound_call(OnnxModel(file), batch)
        return stored_bytes(file)

    sizes = [_apart(file, partial(size, file), limits) for file in dict.fromkeys(files)]
    bytes_of = dict(zip(dict.fromkeys(files), sizes, strict=True))
    timed = []
    for number, file in enumerate(files, start=1):
        if len(files) > 1:
            out.note(f"timing {number}/{len(files)}: {file}")
        comparison = _apart(file, partial(compare, files[0], file, batch=batch, seed=seed), limits)
        timed.append(Timed(file, bytes_of[file], comparison))
    return timed


def _apart(file: Path, work: Callable[[], R], limits: _Limits) -> R:
    """What ``work`` finds out about a file, which may be made to crash, to fill the memory, or never to end."""
    from compressor.apart import apart
    from compressor.errors import InputError, NoAnswer

    try:
        return apart(work, seconds=limits.seconds, memory=int(limits.memory * 2**30))
    except NoAnswer as error:
        options = f"(--seconds {limits.seconds:g}, --memory {limits.memory:g})"
        raise InputError(f"{file}: running it in ONNX Runtime {error} {options}") from None


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
