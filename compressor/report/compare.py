"""Several runs side by side: the best of each, what the recipes differ in, and whether the figures can be compared."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from compressor.recipe.flat import flat_items
from compressor.report import text
from compressor.report.gather import Facts
from compressor.report.section import Section
from compressor.report.table import Column, Table, table
from compressor.report.verdict import headline
from compressor.search.result import Candidate

NamedRuns = Mapping[str, Facts]
"""Runs by the names they are shown under."""


def named(runs: Sequence[Facts]) -> dict[str, Facts]:
    """Each run under the end of its path that tells it from the others."""
    paths = [facts.folder.parts for facts in runs]
    depth = next(
        (n for n in range(1, max(map(len, paths)) + 1) if len({path[-n:] for path in paths}) == len(set(paths))), 1
    )
    found: dict[str, Facts] = {}
    for path, facts in zip(paths, runs, strict=True):
        name = os.sep.join(path[-depth:])
        found[name if name not in found else f"{name} ({len(found) + 1})"] = facts
    return found


def compare_runs(runs: NamedRuns) -> list[Section]:
    """What to tell of several runs."""
    return [
        Section("The best of each", tuple(_lines(runs)), best_table(runs)),
        *([Section("What the recipes differ in", (), differing)] if (differing := recipes_table(runs)).rows else ()),
    ]


def best_table(runs: NamedRuns) -> Table:
    """A row per run: whether it helped, and the figures of its best candidate against its own baseline."""
    rows = [(name, *_best(facts)) for name, facts in runs.items()]
    titles = "run, helped, >validation, >points, >size, >smaller, >speed, >95 %, >trials, >time, plan"
    return table(titles, rows, keys=(key(number) for number, _ in enumerate(runs)))


def key(number: int) -> str:
    """What the row of a run is called, for what leads to it."""
    return f"run-{number}"


def _best(facts: Facts) -> tuple[str, ...]:
    result = facts.result
    best, base, ended = result.best, result.baseline, str(len(facts.trials))
    helped = "yes" if result.verdict.helped else "no" if result.final else "not finished"
    if best is None:
        return (helped, *(text.NONE,) * 6, ended, text.duration(result.seconds), text.NONE)
    return (
        helped,
        best.quality.show("validation"),
        text.change(best.quality.measured, base.quality.validation, best.quality.validation),
        text.size(best.size_bytes),
        text.times(base.size_bytes / best.size_bytes),
        text.times(best.latency.speedup),
        text.interval(best.latency.low, best.latency.high),
        ended,
        text.duration(result.seconds),
        best.about,
    )


def _lines(runs: NamedRuns) -> Iterator[str]:
    helped = {name: facts.result for name, facts in runs.items() if facts.result.verdict.helped}
    found = {name: result.best for name, result in helped.items() if result.best is not None}
    if len(found) > 1:
        yield (
            f"Smallest: {_first(found, lambda best: best.size_bytes)}; "
            f"fastest: {_first(found, lambda best: best.latency.us)}; "
            f"best in quality: {_first(found, lambda best: best.quality.regret)}."
        )
    yield from (f"{name}: {headline(facts.result)}." for name, facts in runs.items() if name not in helped)
    yield from (f"Careful: {caution}." for caution in cautions(runs))


def _first(found: Mapping[str, Candidate], figure: Callable[[Candidate], float]) -> str:
    return min(found, key=lambda name: figure(found[name]))


def cautions(runs: NamedRuns) -> Iterator[str]:
    """Why figures of one run should not be held against those of another."""
    for of, words in _CAUTIONS:
        if len({repr(of(facts)) for facts in runs.values()}) > 1:
            yield words
    flat = [_flat(_recipe(facts)) for facts in runs.values()]
    shared = (name for name in flat[0] if name.startswith("data.") and all(name in recipe for recipe in flat))
    if any(len({recipe[name] for recipe in flat}) > 1 for name in shared):
        yield "they were trained and scored on different data"


def _network(facts: Facts) -> object:
    base = facts.result.baseline
    return base.checks.model if base.checks is not None else (base.size_bytes, base.params, base.macs)


def _libraries(facts: Facts) -> Mapping[str, Any]:
    found = facts.environment.get("libraries")
    return found if isinstance(found, dict) else {}


_CAUTIONS: tuple[tuple[Callable[[Facts], object], str], ...] = (
    (_network, "they began with different networks, and each is shown against its own"),
    (lambda facts: facts.environment.get("processor"), "they were timed on different processors"),
    (lambda facts: _libraries(facts).get("onnxruntime"), "they were timed in different versions of ONNX Runtime"),
)


def recipes_table(runs: NamedRuns) -> Table:
    """A row per key of the recipe that is not the same in all runs."""
    flat = [_flat(_recipe(facts)) for facts in runs.values()]
    rows = [
        (name, *(recipe.get(name, text.NONE) for recipe in flat))
        for name in dict.fromkeys(name for recipe in flat for name in recipe)
        if len({recipe.get(name) for recipe in flat}) > 1
    ]
    return Table((Column("key"), *map(Column, runs)), tuple(rows))


def _recipe(facts: Facts) -> Mapping[str, Any]:
    """The recipe as written; empty where it cannot be read."""
    try:
        return tomllib.loads(facts.recipe)
    except tomllib.TOMLDecodeError:
        return {}


def _flat(recipe: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in flat_items(recipe)}
