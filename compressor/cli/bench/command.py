"""The command, its options, and what they mean together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compressor.api.bench import BenchJob, Timed, time_files
from compressor.cli.bench.show import bench_data, show
from compressor.cli.failures import NO
from compressor.cli.options import JsonFlag, sizes
from compressor.cli.output import output
from compressor.errors import InputError
from compressor.report import text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compressor.measure.inputs import Feeding, InputSizes
    from compressor.runtime import Setting

MEMORY = 8.0
SECONDS = 60.0


def bench(
    files: Annotated[list[Path], typer.Argument(metavar="A.onnx [B.onnx …]", help="ONNX files.", show_default=False)],
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch", min=1, help="Samples per call: the size of open first dimensions. Default 1.", show_default=False
        ),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            "--shape",
            metavar="NAME=1x3x224x224",
            help="Sizes of an input, or of an open dimension (height=224). Repeatable.",
            show_default=False,
        ),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option("--inputs", metavar="F.npz", help="Real data, an array per input.", show_default=False),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, max=1024, help="Threads of the CPU.")] = 1,
    provider: Annotated[
        str, typer.Option("--provider", metavar="NAME", help="Execution provider of ONNX Runtime: cpu, cuda, …")
    ] = "cpu",
    fail_if_slower: Annotated[
        float | None,
        typer.Option(
            "--fail-if-slower",
            metavar="SPEED",
            help="Exit with 1 where a file's speed, against the first, is below this: 0.98.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seeds random inputs and the order of calls.")
    ] = 0,
    memory: Annotated[
        float | None,
        typer.Option(
            "--memory",
            min=0.1,
            metavar="GiB",
            help=f"Memory that running a file may take. Default {MEMORY:g}, on the CPU.",
            show_default=False,
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=1.0, help="Seconds that loading a file, or one call of it, may take.")
    ] = SECONDS,
    as_json: JsonFlag = False,
) -> None:
    """Time ONNX files in ONNX Runtime: time per call, memory, size, and the ratio to the first file (95 % interval)."""
    with output(as_json) as out:
        limit = _limit(fail_if_slower, files)
        setting = _setting(threads, provider)
        feeding = _feeding(batch, shape or [], inputs)
        most = memory if memory is not None else MEMORY if setting.device == "cpu" else 0.0  # a GPU maps far more
        timed = time_files(files, BenchJob(feeding, setting, seed, most, seconds), out.note)
        if as_json:
            out.document([bench_data(entry, setting, limit, first=number == 0) for number, entry in enumerate(timed)])
        else:
            show(timed, setting, inputs, out)
        slower = (
            []
            if limit is None
            else [_too_slow(entry, files[0], limit) for entry in timed[1:] if slower_than(entry, limit)]
        )
        for sentence in slower:
            out.note(sentence) if as_json else out.line(text.clean(sentence))
    if slower:
        raise typer.Exit(NO)


def slower_than(entry: Timed, limit: float) -> bool:
    """By the median: what is within the interval of a limit cannot be told from it either way."""
    return entry.comparison.speedup < limit


def _too_slow(entry: Timed, first: Path, limit: float) -> str:
    timing = entry.comparison
    doubt = "" if timing.high < limit else " The interval reaches beyond that: a quieter machine tells more."
    if not timing.rankable:
        doubt = " A call is mostly the runtime's own time: --batch gives it more work."
    speed = f"{text.times(timing.speedup)} ({text.interval(timing.low, timing.high)})"
    return f"Too slow: {entry.file} runs at {speed} the speed of {first}; the limit is {limit:g}×.{doubt}"


def _limit(fail_if_slower: float | None, files: Sequence[Path]) -> float | None:
    if fail_if_slower is None:
        return None
    if not 0 < fail_if_slower <= 1000:
        raise InputError(f"--fail-if-slower {fail_if_slower:g}: a speed against the first file, such as 0.98")
    if len(files) < 2:
        raise InputError("--fail-if-slower compares with the first file: name two")
    return fail_if_slower


def _setting(threads: int, provider: str) -> Setting:
    from compressor.runtime import Setting, provider_named

    return Setting(threads, provider_named(provider))


def _feeding(batch: int | None, shapes: Sequence[str], inputs: Path | None) -> Feeding:
    from compressor.measure.inputs import Feeding

    arrays = {}
    if inputs is not None:
        from compressor.data.npz import read_arrays

        arrays = read_arrays(inputs)
    return Feeding(batch, dict(map(_named_sizes, shapes)), arrays)


def _named_sizes(given: str) -> tuple[str, InputSizes]:
    name, equals, value = given.rpartition("=")
    if not equals or not name:
        raise InputError(f"--shape {text.clean(given)[:60]}: expected NAME=SIZES, such as x=1x3x224x224 or height=224")
    return name, sizes(value, f"--shape {text.clean(name)[:60]}=")
