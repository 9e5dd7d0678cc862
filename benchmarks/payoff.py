"""What every plugin saves, in bytes and in time, beside what it has to save: regenerates ``docs/results/payoff.md``.

    python benchmarks/payoff.py                                 # every plugin
    python benchmarks/payoff.py --plugin conv3d                 # one (may be repeated), the others from what is kept
    python benchmarks/payoff.py --render                        # the page anew from the figures kept

Each line is one rewrite of a small network made for it: both ONNX files, and their times side by side in ONNX Runtime.
The lines of a plugin are kept in ``docs/results/data/payoff.json`` once all of them are measured.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from _report import RESULTS, surroundings, write_report
from payoffs._rows import SAME_SPEED, PayoffRow

from compressor.measure.latency import FULL, Comparison

PLUGINS = (
    "input-mask", "meta-head", "conv3d", "layer-removal", "binarize", "magnitude-prune", "self-grow",
    "quantize-weights",
)  # fmt: skip
KEPT = RESULTS / "data" / "payoff.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--plugin", action="append", choices=PLUGINS, help="one plugin (may be repeated); default: all")
    parser.add_argument("--render", action="store_true", help="measure nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for plugin in () if options.render else options.plugin or PLUGINS:
        module = f"payoffs.{plugin.replace('-', '_')}"
        if importlib.util.find_spec(module) is None:
            print(f"{plugin}: nobody has written benchmarks/{module.replace('.', '/')}.py")
            continue
        keep(plugin, shown(importlib.import_module(module).rows()))
    table = kept()
    rows = [row for plugin in PLUGINS for row in table.get(plugin, ())]
    command = "python benchmarks/payoff.py"
    missing = [plugin for plugin in PLUGINS if plugin not in table]
    lines = [*notes(rows), *machines(), *([f"Not measured: {', '.join(missing)}."] if missing else [])]
    write_report("payoff", "What every plugin saves", command, [row.cells() for row in rows], lines)


def shown(rows: Iterable[PayoffRow]) -> list[PayoffRow]:
    """The rows, each said when it is there."""
    found = []
    for row in rows:
        cells = row.cells()
        print(
            cells["rewrite"], f"÷ {row.ratio:.2f}", cells["speed-up [95 %]"], cells["required"], cells[""], flush=True
        )
        found.append(row)
    return found


def notes(rows: Sequence[PayoffRow]) -> list[str]:
    required = [row for row in rows if row.wanted]
    missed = [row.name for row in required if not row.met]
    loads = [row.speed.load for row in rows]
    return [
        f"{len(required) - len(missed)} of {len(required)} requirements met"
        + (f"; missed: {'; '.join(missed)}." if missed else "."),
        f"n = {FULL.sessions} fresh pairs of ONNX Runtime sessions of {FULL.min_rounds} to {FULL.max_rounds} rounds "
        "per line, one thread, thread CPU times paired; in brackets the 95 % interval.",
        f"A requirement is met when the estimate reaches it; {SAME_SPEED}× stands for 1.00× and for “never slower”, as "
        "far as a measurement can tell. On a busy machine shares of a shared cache move ratios by some percent.",
        "÷: bytes of the ONNX file, before and after; layer ÷: of the one layer's stored values alone, without "
        "the file's header and nodes. A required ratio is the layer's where there is one.",
        "Nothing is required of a line without a requirement: a form that is measured but not chosen by itself "
        "(`allow_slower`, `tile as a product`, *not offered*), a small PReLU head or a binary convolution for many "
        "images, and what makes a network larger.",
        "Weights are seeded and untrained: what a rewrite does to accuracy is on the plugins' own pages.",
        f"Load average over one minute while measuring: {min(loads):.1f} to {max(loads):.1f}.",
    ]


def machines(path: Path = KEPT) -> Sequence[str]:
    """Where the lines of each plugin were measured, if not all of them here."""
    entries = json.loads(path.read_text())
    found = {plugin: entry.get("where", "") for plugin, entry in entries.items()}
    if set(found.values()) == {surroundings()}:
        return ()
    places = sorted(set(found.values()))
    return [f"{', '.join(p for p in PLUGINS if found.get(p) == place)}: {place or 'elsewhere'}" for place in places]


def keep(plugin: str, rows: Sequence[PayoffRow], path: Path = KEPT) -> None:
    """The rows of one plugin in the place of its earlier ones."""
    entries = json.loads(path.read_text()) if path.exists() else {}
    entries[plugin] = {"made": time.strftime("%F"), "where": surroundings(), "rows": [asdict(row) for row in rows]}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n")
    temporary.replace(path)


def kept(path: Path = KEPT) -> Mapping[str, list[PayoffRow]]:
    """All rows kept, by plugin."""
    entries = json.loads(path.read_text())
    return {plugin: [_row(**row) for row in entry["rows"]] for plugin, entry in entries.items()}


def _row(speed: dict[str, Any], **values: Any) -> PayoffRow:
    return PayoffRow(speed=Comparison(**{**speed, "notes": tuple(speed["notes"])}), **values)


if __name__ == "__main__":
    main()
