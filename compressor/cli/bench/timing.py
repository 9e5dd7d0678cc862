"""Timing files, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from compressor.cli.output import Output
    from compressor.measure.inputs import Feeding
    from compressor.measure.latency import Comparison
    from compressor.runtime import Setting

R = TypeVar("R")
MARGIN = 1.02
"""A file counts as faster, or slower, when the whole interval lies beyond two percent."""


@dataclass(frozen=True)
class Job:
    """What every file is measured with."""

    feeding: Feeding
    setting: Setting
    seed: int
    memory: float
    """GiB that a file may ask for in all its sessions; 0: as much as there is."""
    seconds: float
    """How long loading a file, or a call of it, may take."""


@dataclass(frozen=True)
class Facts:
    """What is known of a file before it is timed."""

    size_bytes: int
    memory_bytes: int | None
    """Peak of loading it and running it, where the system counts that."""
    inputs: tuple[tuple[str, str, tuple[int, ...]], ...]
    """Name, type and sizes of what it was given."""
    placed: tuple[int, int] = (0, 0)
    """Nodes on the provider that was asked for, and all; of the CPU's own provider nothing is asked."""


@dataclass(frozen=True)
class Timed:
    """One file against the first one."""

    file: Path
    facts: Facts
    comparison: Comparison

    @property
    def verdict(self) -> str:
        timing = self.comparison
        if not timing.rankable:
            return "too short to tell"
        return "faster" if timing.low > MARGIN else "slower" if timing.high < 1 / MARGIN else "no difference shown"


def time_files(files: Sequence[Path], job: Job, out: Output) -> list[Timed]:
    """Every file against the first one; the first against itself, for its own times."""
    from compressor.measure.latency import compare

    known = {file: _apart(file, partial(_facts, file, job), job) for file in dict.fromkeys(files)}
    timed = []
    for number, file in enumerate(files, start=1):
        if len(files) > 1:
            out.note(f"timing {number}/{len(files)}: {file}")
        work = partial(compare, files[0], file, feeding=job.feeding, setting=job.setting, seed=job.seed)
        timed.append(Timed(file, known[file], _apart(file, work, job)))
    return timed


def _facts(file: Path, job: Job) -> Facts:
    """Known before anything is timed: that the file runs, and what it takes."""
    from compressor.graph.onnx_in.file import stored_bytes
    from compressor.measure.bound import bound, fed, load, settle
    from compressor.measure.memory import with_peak
    from compressor.runtime import placement

    def run() -> tuple[tuple[str, str, tuple[int, ...]], ...]:
        loaded = load(file, job.setting)
        arrays = fed(loaded, job.feeding, seed=job.seed)
        bound(loaded, arrays)()
        return tuple((entry.name, entry.kind, arrays[entry.name].shape) for entry in loaded.entries)

    settle(job.setting)
    inputs, memory = with_peak(run)
    return Facts(stored_bytes(file), memory, inputs, placement(file, job.setting))


def _apart(file: Path, work: Callable[[], R], job: Job) -> R:
    """What ``work`` finds out about a file, which may be made to crash, to fill the memory, or never to end."""
    from compressor.apart import apart
    from compressor.errors import InputError, NoAnswer

    try:
        return apart(work, seconds=job.seconds, memory=int(job.memory * 2**30))
    except NoAnswer as error:
        options = f"(--seconds {job.seconds:g}, --memory {job.memory:g})"
        raise InputError(f"{file}: running it in ONNX Runtime {error} {options}") from None
