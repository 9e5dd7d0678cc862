"""Every CNN classifier of torchvision and one of each CNN family of timm, put through what the toolkit does.

    python benchmarks/zoo.py [--source torchvision timm hybrid] [--only NAME…] [--again] [--no-rewrites] [--page]

Needs torchvision and timm, which install beside torch 2.14: an environment of its own with ``torchvision==0.29.1`` and
``timm``. Weights are random (Kaiming, statistics of BatchNorm measured), images are noise, and the image is as small as
the network takes (64 pixels, mostly). Each network has a process of its own with a limit of CPU seconds; what comes of
it is one line of ``docs/results/data/zoo.jsonl``, and a network that has its line is passed over. ``--no-rewrites``
lists the sites without rewriting them, ``--page`` only writes the page from the lines there are.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from _report import RESULTS
from zoos.checks import PLUGINS, check
from zoos.networks import names
from zoos.page import write_page

LINES = RESULTS / "data" / "zoo.jsonl"
SOURCES = ("torchvision", "timm", "hybrid")
WALL = 10
"""Seconds by the clock for each CPU second of the limit: the machine may have other work."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", nargs="+", choices=SOURCES, default=SOURCES)
    parser.add_argument("--only", nargs="+", default=[], help="names of networks")
    parser.add_argument("--again", action="store_true", help="also those that have their line")
    parser.add_argument("--no-rewrites", action="store_true", help="list sites without rewriting them")
    parser.add_argument("--limit", type=int, default=300, help="CPU seconds for one network")
    parser.add_argument("--per-plugin", type=float, default=20.0, help="CPU seconds for the sites of one plugin")
    parser.add_argument("--page", action="store_true", help="only write the page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.page and not PLUGINS:
        parser.error("no plugin is installed in this environment, so that nothing would be rewritten")
    if not options.page:
        seconds = 0.0 if options.no_rewrites else options.per_plugin
        wanted = options.only or [name for source in options.source for name in names(source)]
        done = {} if options.again else _lines()
        for name in wanted:
            if name not in done:
                _keep(_in_process(name, options.limit, seconds))
    print(write_page(_lines(), {source: len(names(source)) for source in SOURCES}))


def _in_process(name: str, limit: int, seconds: float) -> dict[str, Any]:
    context = multiprocessing.get_context("fork")  # what is imported need not be imported again
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, name, limit, seconds))
    process.start()
    sender.close()
    try:
        record: dict[str, Any] = receiver.recv() if receiver.poll(WALL * limit) else _lost(name, limit)
    except EOFError:
        record = _lost(name, limit)
    process.kill()
    process.join()
    return record


def _work(sender: Connection, name: str, limit: int, seconds: float) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    try:
        sender.send(check(name, seconds))
    except Exception as error:
        sender.send({"name": name, "faults": [f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"]})


def _lost(name: str, limit: int) -> dict[str, Any]:
    return {"name": name, "faults": [f"the process ended without a result: {limit} CPU seconds, or memory"]}


def _keep(record: dict[str, Any]) -> None:
    print(record["name"], sorted(record.get("faults", [])), flush=True)
    LINES.parent.mkdir(parents=True, exist_ok=True)
    rest = {name: line for name, line in _lines().items() if name != record["name"]}
    whole = {**rest, record["name"]: record}
    LINES.write_text("".join(json.dumps(line) + "\n" for line in whole.values()), encoding="utf-8")


def _lines(path: Path = LINES) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    return {record["name"]: record for record in records}


if __name__ == "__main__":
    main()
