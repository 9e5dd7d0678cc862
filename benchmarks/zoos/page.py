"""The page: what became of every network, and every reason for a refusal with the number of networks that gave it."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from _opening import with_opening
from _report import RESULTS, Row, surroundings, table

from zoos.networks import names
from zoos.reviews import review

Lines = Mapping[str, Mapping[str, Any]]
PATH = RESULTS / "zoo.md"
EXACT_ONNX = 1e-4
SOURCES = {"torchvision": "torchvision", "timm": "timm", "hybrid": "hybrids of timm"}
ROUNDINGS = 8.0
"""How many times the error of single precision itself a file may be off."""


def write_page(lines: Lines, listed: Mapping[str, int]) -> Path:
    """Write ``docs/results/zoo.md`` from one record per network; ``listed``: how many networks each source has."""
    order = list(SOURCES)
    records = sorted(lines.values(), key=lambda record: (order.index(_source(record)), record["name"]))
    parts = [
        "# The convolutional networks of torchvision and timm",
        "`python benchmarks/zoo.py`",
        textwrap.fill(_INTRODUCTION, 120),
        "## In short",
        "Run so far, as the lines were kept over time: of the networks listed, those in the second column.",
        table(list(_summary(records, listed))),
        *(["## Faults", _faults(records)] if _faults(records) else []),
        "## Every network",
        textwrap.fill(_COLUMNS, 120),
        table([_row(record) for record in records]),
        "## Sites, and how many of them were rewritten",
        textwrap.fill(_SITES, 120),
        textwrap.fill(_rewritten_whole(records), 120),
        table(list(_plugin_rows(records))),
        "## What was refused, and why",
        _REFUSALS,
        *_refusal_tables(records),
        surroundings(),
    ]
    PATH.write_text(with_opening("zoo", "\n\n".join(parts) + "\n"), encoding="utf-8")
    return PATH


_INTRODUCTION = (
    "Every CNN classifier of torchvision and the smallest of each CNN family of timm, one process each: random "
    "weights (Kaiming; BatchNorm statistics measured; scales of branches that start near zero drawn from 0.4 to "
    "0.8, so that no branch is idle), noise images, seed 0, the smallest image the network takes (64 pixels "
    "mostly; five at their own size). Hybrids of convolution and attention are beyond what is promised, and here since "
    "they find faults: those that are refused stand below with the reason."
)
_COLUMNS = (
    "*Captured*: largest difference of the captured network's outputs from the module's, relative to the largest "
    "output (0: bit for bit). *Moves*: how far outputs of different images are apart on the same scale, which is "
    "what a wrong network would show. *ONNX*: largest difference of the file in ONNX Runtime. *Pruned*: coupled "
    "groups that lost half of their channels, of those there are (in 30 s of CPU); then the parameters left. "
    "*Zeroed*: largest difference from the network that has these channels at zero where they are made and where they "
    "are taken, in double precision where single precision itself is off by more. *8 bits*: bytes of the file over "
    "bytes of the file with every layer at 8 bits."
)
_SITES = (
    "Sites over all networks, of every plugin that comes with the toolkit. Where a network's sites were rewritten, one "
    "after the other: those that were, those that an earlier edit took away or made senseless (declined, with a "
    "reason), and those left when the CPU seconds for one plugin were up: *left* counts sites that nobody tried, "
    "neither rewritten nor refused. What was promised exact was measured on the result, and its file compared in ONNX "
    "Runtime: its answers, or of integers, whose answers jump in an untrained network, every value on the way. "
    "A network whose sites were only listed counts in the first two columns; one whose line is older than a "
    "plugin (quantize, swap-activation, pool-first) does not count for that plugin."
)
_REFUSALS = (
    "Names and numbers are left out of the reasons; a reason may hold for many places of one network. Why each stands "
    "was looked at reason by reason."
)


def _rewritten_whole(records: Sequence[Mapping[str, Any]]) -> str:
    """How many networks were rewritten whole, and which were not."""
    captured = [record for record in records if "difference" in record]
    every = {plugin for record in records for plugin in record.get("plugins", {})}
    rest = [r["name"] for r in captured if not (every <= r.get("plugins", {}).keys() and _is_whole(r))]
    others = f" Not whole: {', '.join(rest)}, of which sites are untried, since each plugin had some CPU seconds."
    return (
        f"Of {len(captured)} captured networks {len(captured) - len(rest)} were rewritten whole: every site by every "
        f"plugin, or declined with a reason.{others if rest else ''} A file of floats may be off by eight times what "
        "single precision itself is off: after an edit fitted to eight noise images that may be much."
    )


def _is_whole(record: Mapping[str, Any]) -> bool:
    return all(
        "untried" not in entry and ("rewritten" in entry or not entry.get("sites")) for entry in _entries(record)
    )


def _entries(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(record.get("plugins", {}).values())


def _source(record: Mapping[str, Any]) -> str:
    if not record["name"].startswith("timm/"):
        return "torchvision"
    return "hybrid" if record["name"] in names("hybrid") else "timm"


def _summary(records: Sequence[Mapping[str, Any]], listed: Mapping[str, int]) -> Iterator[Row]:
    for source, title in SOURCES.items():
        own = [record for record in records if _source(record) == source]
        if not own:
            continue
        captured = [record for record in own if "difference" in record]
        pruned = [record["pruned"] for record in own if record.get("pruned", {}).get("pruned")]
        yield {
            "": title,
            "run": f"{len(own)} of {listed[source]}",
            "captured": len(captured),
            "bit for bit": sum(record["difference"] == 0 for record in captured),
            "exported": sum("onnx_bytes" in record for record in own),
            "agree in ONNX Runtime": sum(map(_agrees, own)),
            "with groups pruned": len(pruned),
            "of them as zeroed": sum(not entry.get("faults") for entry in pruned),
            "with faults": sum(bool(list(_faults_of(record))) for record in own),
        }


def _agrees(record: Mapping[str, Any]) -> bool:
    """To a ten-thousandth, or as far as single precision carries in a network that loses digits fast."""
    return bool(record.get("onnx_error", 1.0) <= max(EXACT_ONNX, ROUNDINGS * record.get("rounding", 0.0)))


def _row(record: Mapping[str, Any]) -> Row:
    pruned = record.get("pruned", {})
    eight = record.get("plugins", {}).get("quantize-weights", {}).get("onnx_bytes")
    return {
        "network": record["name"],
        "image": "×".join(map(str, record.get("input", ()))) or "–",
        "parameters": f"{record['parameters']:,}" if "parameters" in record else "–",
        "captured": _figure(record.get("difference")),
        "moves": _figure(record.get("sensitivity")),
        "ONNX": _figure(record.get("onnx_error")),
        "pruned": f"{pruned['pruned']} of {pruned['groups']}" if "pruned" in pruned else "–",
        "parameters left": _share(pruned),
        "zeroed": _figure(pruned.get("error")) if pruned.get("pruned") else "–",
        "8 bits": f"÷ {record['onnx_bytes'] / eight:.2f}" if eight and "onnx_bytes" in record else "–",
    }


def _share(pruned: Mapping[str, Any]) -> str:
    if not pruned.get("pruned"):
        return "–"
    return f"{100 * pruned['parameters_after'] / pruned['parameters']:.0f} %"


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return "0" if value == 0 else f"{value:.1e}"


def _plugin_rows(records: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    entries: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        for plugin, entry in record.get("plugins", {}).items():
            entries.setdefault(plugin, []).append(entry)
    for plugin, own in sorted(entries.items()):
        tried = [entry for entry in own if "rewritten" in entry]
        yield {
            "plugin": plugin,
            "networks with sites": sum(bool(entry.get("sites")) for entry in own),
            "sites": sum(entry.get("sites", 0) for entry in own),
            "networks rewritten": len(tried),
            "sites there": sum(entry["sites"] for entry in tried),
            "rewritten": sum(entry["rewritten"] for entry in tried),
            "declined": sum(sum(entry["declined"].values()) for entry in tried),
            "left": sum(entry.get("untried", 0) for entry in tried),
        }


# --- refusals and faults ---------------------------------------------------------------------------------------------


def _refusal_tables(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for title, reasons in _reasons(records).items():
        networks = Counter[str]()
        places = Counter[str]()
        for reason, count in reasons:
            networks[reason] += 1
            places[reason] += count
        rows: list[Row] = [
            {"reason": reason, "networks": number, "places": places[reason], "why it stands": review(reason)}
            for reason, number in networks.most_common()
        ]
        yield f"### {title}\n\n{table(rows)}"


def _reasons(records: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[str, int]]]:
    """By what refused: each general reason once per network, with the number of places."""
    found: dict[str, list[tuple[str, int]]] = {}
    for record in records:
        for title in ("capture", "export"):
            if reason := record.get(f"{title}_refused"):
                found.setdefault(title, []).append((f"{record['name']}: {reason}", 1))
        entries = {"pruning half": record.get("pruned", {}), **record.get("plugins", {})}
        for title, entry in entries.items():
            own = Counter[str]()
            for kind in ("refused", "declined"):
                for reason, count in entry.get(kind, {}).items():
                    own[reason] += count
            found.setdefault(title, []).extend(own.items())
    return {title: reasons for title, reasons in found.items() if reasons}


def _faults_of(record: Mapping[str, Any]) -> Iterator[str]:
    yield from record.get("faults", [])
    yield from record.get("pruned", {}).get("faults", [])
    for plugin, entry in record.get("plugins", {}).items():
        for fault in entry.get("faults", []):
            yield f"{plugin}: {fault}"


def _faults(records: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(f"- {record['name']}: {fault}" for record in records for fault in _faults_of(record))
