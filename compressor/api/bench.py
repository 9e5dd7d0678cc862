"""``compressor.bench``: ONNX files against the first of them, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from compressor.errors import InputError, NoAnswer

if TYPE_CHECKING:
    from compressor.measure.inputs import Feeding
    from compressor.measure.latency import Comparison
    from compressor.runtime import Setting

R = TypeVar("R")
MARGIN = 1.02
"""A file counts as faster, or slower, when the whole interval lies beyond two percent."""


@dataclass(frozen=True)
class BenchJob:
    """What every file is measured with."""

    feeding: Feeding
    setting: Setting
    seed: int
    memory: float
    """GiB that a file may ask for in all its sessions; 0: as much as there is."""
    seconds: float
    """How long loading a file, or a call of it, may take."""


@dataclass(frozen=True)
class FileFacts:
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
    facts: FileFacts
    comparison: Comparison

    @property
    def verdict(self) -> str:
        timing = self.comparison
        if not timing.rankable:
            return "too short to tell"
        return "faster" if timing.low > MARGIN else "slower" if timing.high < 1 / MARGIN else "no difference shown"


def bench(
    *files: str | Path,
    batch: int | None = None,
    threads: int = 1,
    provider: str = "cpu",
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    arrays: Mapping[str, Any] | None = None,
    seed: int = 0,
    memory: float = 0.0,
    seconds: float = 600.0,
) -> list[Timed]:
    """Paired times of ONNX files in ONNX Runtime: each against the first, with a 95 % interval.

    ``batch``: samples per call. ``shapes``: sizes of open inputs or dimensions, by name. ``arrays``: real values by
    input; random ones where there are none. ``memory`` (GiB) and ``seconds`` limit what a file may take. Raises
    ``InputError``.
    """
    from compressor.measure.inputs import Feeding
    from compressor.runtime import Setting, provider_named

    if not files:
        raise InputError("bench: name at least one ONNX file")
    feeding = Feeding(batch, dict(shapes or {}), dict(arrays or {}))
    job = BenchJob(feeding, Setting(threads, provider_named(provider)), seed, memory, seconds)
    return time_files([Path(file) for file in files], job)


def time_files(files: Sequence[Path], job: BenchJob, say: Callable[[str], None] = lambda line: None) -> list[Timed]:
    """Every file against the first one; the first against itself, for its own times."""
    from compressor.measure.latency import compare

    known = {file: _apart(file, partial(_facts, file, job), job) for file in dict.fromkeys(files)}
    timed = []
    for number, file in enumerate(files, start=1):
        if len(files) > 1:
            say(f"timing {number}/{len(files)}: {file}")
        work = partial(compare, files[0], file, feeding=job.feeding, setting=job.setting, seed=job.seed)
        timed.append(Timed(file, known[file], _apart(file, work, job)))
    return timed


def _facts(file: Path, job: BenchJob) -> FileFacts:
    """Known before anything is timed: that the file runs, and what it takes."""
    from compressor.graph.onnx_in.file import stored_bytes
    from compressor.measure.bound import bound, fed, load, warm_runtime
    from compressor.measure.memory import with_peak
    from compressor.runtime import placement

    def run() -> tuple[tuple[str, str, tuple[int, ...]], ...]:
        loaded = load(file, job.setting)
        arrays = fed(loaded, job.feeding, seed=job.seed)
        bound(loaded, arrays)()
        return tuple((entry.name, entry.kind, arrays[entry.name].shape) for entry in loaded.entries)

    warm_runtime(job.setting)
    inputs, memory = with_peak(run)
    return FileFacts(stored_bytes(file), memory, inputs, placement(file, job.setting))


def _apart(file: Path, work: Callable[[], R], job: BenchJob) -> R:
    """What ``work`` finds out about a file, which may be made to crash, to fill the memory, or never to end."""
    from compressor.apart import apart

    try:
        return apart(work, seconds=job.seconds, memory=int(job.memory * 2**30))
    except NoAnswer as error:
        options = f"(--seconds {job.seconds:g}, --memory {job.memory:g})"
        raise InputError(f"{file}: running it in ONNX Runtime {error} {options}") from None
