"""What is measured beside the searches, as notes of their page: each from the figures that its benchmark left."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from searches.kept import beside


def figures_beside() -> Iterator[str]:
    """A note for all that has been measured."""
    for name, note in (
        ("asking", _asking),
        ("trial_overhead", _overhead),
        ("interactions", _interactions),
        ("relatives", _relatives),
        ("workers", _workers),
    ):
        figures = beside(name)
        if figures:
            yield note(figures)


def _asking(found: dict[str, Any]) -> str:
    each = "; ".join(
        f"{sampler} {one['asking']:.1f} ms for asking, {one['trial']:.0f} ms for the whole trial "
        f"({1000 / one['trial']:.0f} a second)"
        for sampler, one in found.items()
    )
    told = next(iter(found.values()))["told"]
    return (
        f"CPU time of a trial that trains nothing, at {told:,} told trials (`python benchmarks/asking.py`), on a busy "
        f"machine: {each}. Before the study lived in memory: 45 ms with "
        "the random sampler; TPE 99 ms at 250 told, growing with their number."
    )


def _overhead(found: dict[str, Any]) -> str:
    each = "; ".join(
        f"{name} ({one['edits']:.0f} edits): {one['besides'] + one['calibrate']:.2f} s" for name, one in found.items()
    )
    return (
        "CPU time of a trial besides training, scoring and timing, two phases that prune every layer by half and give "
        f"it 4 bits (`python benchmarks/trial_overhead.py`): {each}. It was to be under 5 s for ResNet-50 at 224²."
    )


def _interactions(found: dict[str, Any]) -> str:
    def mean(name: str, which: int) -> float:
        return statistics.mean(float(pair[which]) for pair in found["errors"][name])

    each = "; ".join(f"{name} {mean(name, 0):.2f} against {mean(name, 1):.2f}" for name in found["errors"])
    runs = len(next(iter(found["errors"].values())))
    return (
        "Every look is at a whole plan, so that what its edits do to one another is measured with them. Looks left out "
        "are predicted by the surrogate's process with this error, against one in which every parameter counts by "
        f"itself (`python benchmarks/interactions.py`, mean of {runs} runs): {each}. The forecast interval, meant for "
        f"two of three, held the regret of {found['inside']} of {found['told']} trials."
    )


def _relatives(found: list[dict[str, Any]]) -> str:
    gains = [100 * (pair["related"] - pair["usual"]) for pair in found]
    error = statistics.stdev(gains) / len(gains) ** 0.5
    listed = ", ".join(f"{gain:+.2f}" for gain in gains)
    return (
        "From the weights of the nearest trained relative instead of the baseline's (`python benchmarks/relatives.py`, "
        f"{len(gains)} pairs, {min(p['shared'] for p in found):.0%} to {max(p['shared'] for p in found):.0%} of the "
        f"edits shared): {listed} points of validation accuracy, {statistics.mean(gains):+.2f} ± {error:.2f} (standard "
        "error) on average. No gain that could be told from noise, so trials begin with the baseline's weights: what a "
        "trial comes to then depends on its plan alone, and trials do not wait for one another."
    )


def _workers(found: dict[str, float]) -> str:
    rows: dict[str, list[str]] = {}
    for key, seconds in found.items():
        executor, kind, workers = key.split(", ")
        alone = found.get(f"{executor}, {kind}, 1")
        if alone is not None and int(workers) > 1:
            efficiency = f"{workers} workers {alone / seconds / int(workers):.2f}"
            rows.setdefault(f"{executor}, {kind} trials", []).append(efficiency)
    listed = "; ".join(f"{name}: {', '.join(each)}" for name, each in rows.items())
    return (
        "Efficiency of workers of one thread, the time of one over that of n times n (`python benchmarks/workers.py`; "
        f"a sleeping trial needs no core, so that what the executor costs shows; those that train share two): {listed}."
    )
