"""What every plugin saves, in bytes and in time, beside what it has to save: regenerates ``docs/results/payoff.md``
and, line by line, ``payoff_lines.md``.

    python benchmarks/payoff.py                                 # every plugin
    python benchmarks/payoff.py --plugin conv3d                 # one (may be repeated), the others from what is kept
    python benchmarks/payoff.py --render                        # the pages anew from the figures kept

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
from _opening import with_opening
from _report import RESULTS, surroundings
from payoffs._page import by_plugin, line_by_line
from payoffs._rows import PayoffRow

from compressor.measure.latency import Comparison

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
    write(kept())


def write(table: Mapping[str, Sequence[PayoffRow]]) -> None:
    """Both pages: by plugin, and line by line."""
    found = {plugin: table[plugin] for plugin in PLUGINS if plugin in table}
    missing = [plugin for plugin in PLUGINS if plugin not in table]
    lines = [*machines(), *([f"Not measured: {', '.join(missing)}."] if missing else [])]
    for name, page in (("payoff", by_plugin(found, lines)), ("payoff_lines", line_by_line(found))):
        path = RESULTS / f"{name}.md"
        path.write_text(with_opening(name, page), encoding="utf-8")
        print(path)


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


def machines(path: Path = KEPT) -> list[str]:
    """Where the lines of each plugin were measured."""
    entries = json.loads(path.read_text())
    found = {plugin: entry.get("where", "") for plugin, entry in entries.items()}
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
