"""Where searches leave what they reached, and the benchmarks beside them what they measured: with the other pages'."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _report import RESULTS, surroundings

from searches.points import Point, Search
from searches.tasks import ROOT

DATA = RESULTS / "data" / "search"
WORK = ROOT / "runs" / "search"
"""Baselines and run folders, a folder for each network."""


def file_of(network: str, arm: str, seed: int) -> Path:
    return DATA / network / f"{arm}-{seed}.json"


def keep(search: Search, network: str) -> None:
    _write(asdict(search) | {"where": surroundings()}, file_of(network, search.arm, search.seed))


def kept(network: str) -> list[Search]:
    """All searches of a network."""
    return [_read(file) for file in sorted((DATA / network).glob("*-[0-9].json"))]


def beside(name: str) -> Any:
    """What a benchmark left; empty where it has not been run."""
    file = DATA / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def keep_beside(figures: Any, name: str) -> None:
    _write(figures, DATA / f"{name}.json")


def _write(figures: Any, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _read(file: Path) -> Search:
    found = json.loads(file.read_text(encoding="utf-8"))
    return Search(found["arm"], found["seed"], tuple(Point(**point) for point in found["points"]), found["where"])
