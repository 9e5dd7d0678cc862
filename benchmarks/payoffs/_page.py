"""The two pages of ``payoff.py``, from the lines alone: what each plugin saves, and every line."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from _report import Row, table

from compressor.measure.latency import FULL
from payoffs._rows import SAME_SPEED, PayoffRow

Lines = Mapping[str, Sequence[PayoffRow]]
"""By plugin."""


def by_plugin(lines: Lines, places: Sequence[str]) -> str:
    """A row per plugin; the requirements that were missed; how it was measured. ``places``: where, a line each."""
    rows = [row for rows in lines.values() for row in rows]
    missed = [(plugin, row) for plugin, rows in lines.items() for row in rows if row.wanted and not row.met]
    wanted = sum(bool(row.wanted) for row in rows)
    return "\n\n".join([
        "# What every plugin saves",
        table([_summary(plugin, rows) for plugin, rows in lines.items()]),
        "Median over the lines of a plugin, least and most in brackets: times smaller (the rewritten layer where there "
        "is one, else the file), times faster in ONNX Runtime. *Met*: of the lines that have to reach something. "
        "[Every line](payoff_lines.md).",
        f"## What was missed: {len(missed)} of {wanted}",
        table([_missed(plugin, row) for plugin, row in missed]) if missed else "Nothing.",
        "## Again",
        "```\npython benchmarks/payoff.py\n```",
        "## How it was measured",
        "\n".join(f"- {note}" for note in (*_notes(rows), *places)),
    ]) + "\n"  # fmt: skip


def line_by_line(lines: Lines) -> str:
    """A table per plugin."""
    parts = [f"## {plugin}\n\n{table([_cells(plugin, row) for row in rows])}" for plugin, rows in lines.items()]
    about = "What the columns mean, and how it was measured, is on the page [by plugin](payoff.md)."
    return "\n\n".join(["# What every rewrite saves", about, *parts]) + "\n"


def _summary(plugin: str, rows: Sequence[PayoffRow]) -> Row:
    fastest = max(rows, key=lambda row: row.speed.speedup)
    wanted = [row for row in rows if row.wanted]
    return {
        "plugin": plugin,
        "lines": len(rows),
        "times smaller": _spread(rows, lambda row: row.ratio),
        "times faster": _spread(rows, lambda row: row.speed.speedup),
        "fastest": _cells(plugin, fastest)["rewrite"],
        "met": f"{sum(row.met for row in wanted)} of {len(wanted)}" if wanted else "nothing required",
    }


def _missed(plugin: str, row: PayoffRow) -> Row:
    return {"plugin": plugin, **{column: cell for column, cell in _cells(plugin, row).items() if column}}


def _spread(rows: Sequence[PayoffRow], figure: Callable[[PayoffRow], float]) -> str:
    values = [figure(row) for row in rows]
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def _cells(plugin: str, row: PayoffRow) -> Row:
    """The line without the name of its plugin, which the table has."""
    cells = row.cells()
    return {**cells, "rewrite": cells["rewrite"].removeprefix(f"{plugin} ")}


def _notes(rows: Sequence[PayoffRow]) -> Sequence[str]:
    loads = [row.speed.load for row in rows]
    return [
        "Each line is one rewrite of a small network with seeded, untrained weights: what it does to accuracy is on "
        "the plugins' own pages.",
        f"{FULL.sessions} fresh pairs of ONNX Runtime sessions of {FULL.min_rounds} to {FULL.max_rounds} rounds per "
        "line, one thread, thread CPU times paired; in brackets behind a line the 95 % interval. Load average: "
        f"{min(loads):.1f} to {max(loads):.1f}.",
        f"A requirement is met when the estimate reaches it; {SAME_SPEED}× stands for 1.00×, as far as a measurement "
        "can tell. A required ratio of bytes is the layer's where there is one, without header and nodes of the file.",
        "Nothing is required of a form that is measured but not chosen by itself (`allow_slower`, `tile as a product`, "
        "*not offered*), of a small PReLU head or a binary convolution for many images, and of what makes a network "
        "larger.",
    ]
