"""What every benchmark shares: repeated timing, median and spread, and a Markdown page under docs/results."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from _opening import RESULTS as RESULTS
from _opening import with_opening

if TYPE_CHECKING:
    from compressor.measure.latency import Comparison

PACKAGES = ("compressor", "torch", "torch-pruning", "onnx", "onnxruntime", "optuna", "numpy")

Cell = str | int | float
Row = Mapping[str, Cell]
UNTIMED = "–"


def repeat(action: Callable[[], object], times: int, *, prepare: Callable[[], object] | None = None) -> list[float]:
    """CPU seconds of ``times`` runs, after one that is not counted; ``prepare`` runs untimed before each.

    CPU time of the process rather than wall-clock: on one thread they agree, unless the machine has other work.
    """
    seconds: list[float] = []
    for index in range(times + 1):
        if prepare is not None:
            prepare()
        start = time.process_time()
        action()
        if index > 0:
            seconds.append(time.process_time() - start)
    return seconds


def spread(values: Sequence[float], *, scale: float = 1.0, digits: int = 3) -> str:
    """``median (min…max)``, each to ``digits`` significant digits."""
    median, low, high = (
        _digits(scale * value, digits) for value in (statistics.median(values), min(values), max(values))
    )
    return f"{median} ({low}…{high})"


def speed(found: Comparison) -> str:
    """How many times as fast, and its interval."""
    return f"{found.speedup:.2f}× ({found.low:.2f}–{found.high:.2f})"


def write_report(
    name: str, title: str, command: str, rows: Sequence[Row], notes: Sequence[str], where: Sequence[str] = ()
) -> Path:
    """Print the rows as a table and write ``docs/results/{name}.md``. Columns are the keys of the first row.

    ``notes`` say what one cannot see in the table: n, what the spread is, the seed, the warm-up, the verdict.
    ``where``: packages and machines, if others than these.
    """
    shown = table(rows)
    print(shown)
    places = "\n\n".join(where or [surroundings()])
    lines = [f"# {title}", "", f"`{command}`", "", shown, "", *(f"- {note}" for note in notes), "", places, ""]
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.md"
    path.write_text(with_opening(name, "\n".join(lines)), encoding="utf-8")
    return path


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table; columns are the keys of the first."""
    columns = list(rows[0])
    cells = [columns, *([_text(row.get(column, "")) for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _text(value: Cell) -> str:
    return _digits(value, 4) if isinstance(value, float) else str(value)


def _digits(value: float, digits: int) -> str:
    if value == 0 or abs(value) >= 10**digits:
        return f"{value:.0f}"
    return f"{value:#.{digits}g}".rstrip(".")


def places(found: Sequence[str]) -> list[str]:
    """Of several ``surroundings``, how many figures are of which."""
    machines: dict[str, Counter[str]] = {}
    for one in found:
        packages, _, machine = one.rstrip(".").partition("; ")
        machines.setdefault(packages, Counter())[machine] += 1
    return [
        f"{packages}; "
        + ", ".join(f"{machine}: {number} of {len(found)} figures" for machine, number in sorted(on.items()))
        + "."
        for packages, on in sorted(machines.items())
    ]


def surroundings() -> str:
    packages = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    return (
        f"Python {platform.python_version()}, {packages}; {platform.machine()}, {os.cpu_count()} CPU cores "
        f"({_cpu()}){_card()}."
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _card() -> str:
    """The accelerator, where there is one."""
    import torch

    return f" and {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown model"
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else "unknown model"
