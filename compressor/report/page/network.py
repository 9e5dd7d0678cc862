"""The network as a diagram: a row per layer, the way values take at its left, what each layer weighs, takes and risks.

What values pass now is drawn as a line; layers that are gone lie beside it, with the way they had been on in dots.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from compressor.report import text
from compressor.report.gather import Facts
from compressor.report.layers import LayerChange, OnnxLayer, merged
from compressor.report.sites import covered
from compressor.report.wiring import Wiring

ROW = 44
"""Height of a row, in pixels; the page's style has the same."""
LANE, NODE = 12, 14
"""Distance of two lanes, and of the way itself from the right."""
MOST_LANES = 7
"""Ways drawn side by side; more share the last lane."""


ChangeKind = Literal["same", "changed", "removed", "new", "join"]


@dataclass(frozen=True)
class Bar:
    """Before and after as shares of the longest bar, 0…1, and in words; None where it is not there."""

    before: float | None
    after: float | None
    words: str


@dataclass(frozen=True)
class Row:
    """A layer, or a join of several ways."""

    name: str
    kind: ChangeKind
    what: str
    bytes: Bar | None
    time: Bar | None
    risk: Bar | None
    """The loss that rewriting this layer alone brings; ``before`` is None."""
    y: float


@dataclass(frozen=True)
class Way:
    """A line of the rail; ``gone``: it is no way any more."""

    path: str
    gone: bool


@dataclass(frozen=True)
class Diagram:
    """Rows from the input to the output. ``width`` of the rail, ``height`` of the whole."""

    rows: tuple[Row, ...]
    ways: tuple[Way, ...]
    spine: int
    """Where the straight way lies, from the left."""
    width: int
    height: int
    timed: bool
    measured: bool
    """Whether any layer has a time, a sensitivity."""


@dataclass(frozen=True)
class _Risk:
    """What rewriting a layer alone costs in loss, and by which plugin."""

    loss: float
    plugin: str


def diagram(facts: Facts) -> Diagram | None:
    """The diagram of the best candidate; None where there is none, or its files cannot be read."""
    if not facts.changes:
        return None
    changes = {change.path: change for change in facts.changes}
    before, after = facts.wiring
    shown = {path for path, change in changes.items() if _counts(change, facts)} | {*before.joins, *after.joins}
    risks = _risks(facts, before.order)
    before, after = before.only(shown), after.only(shown)
    order = tuple(merged(before.order, after.order))
    sizes = _longest(size for change in changes.values() for size in _bytes(change))
    longest = _longest([*facts.times.before.values(), *facts.times.after.values()])
    largest = _longest(risk.loss for risk in risks.values())
    rows = []
    for number, name in enumerate(order):
        change = changes.get(name, LayerChange(name, None, None))
        rows.append(
            Row(
                name=name.lstrip("/"),
                kind=_kind(name, change, before, after),
                what=_what(change),
                bytes=_bar(_bytes(change), sizes, text.size),
                time=_bar((facts.times.before.get(name), facts.times.after.get(name)), longest, text.micros),
                risk=_risk_bar(risks.get(name), largest),
                y=ROW * (number + 0.5),
            )
        )
    ways, lanes = _ways(order, before, after)
    return Diagram(
        tuple(rows),
        ways,
        NODE + LANE * lanes,
        2 * NODE + LANE * lanes,
        ROW * len(rows),
        bool(facts.times.before),
        bool(risks),
    )


def _counts(change: LayerChange, facts: Facts) -> bool:
    """Whether a layer is shown: it changed, holds weights, or takes time."""
    timed = change.path in facts.times.before or change.path in facts.times.after
    return timed or change.kind != "same" or bool(change.before and change.before.bytes)


def _kind(name: str, change: LayerChange, before: Wiring, after: Wiring) -> ChangeKind:
    if change.before is None and change.after is None:  # a join, or another call of a layer
        return "removed" if name not in after.order else "new" if name not in before.order else "join"
    return change.kind


def _what(change: LayerChange) -> str:
    old, new = change.before, change.after
    if old is None and new is None:
        return ""
    if old is None or new is None or old == new:
        return (old or new or OnnxLayer((), ())).describe()
    return f"{old.describe()} → {new.describe()}"


def _bytes(change: LayerChange) -> tuple[float | None, float | None]:
    old, new = change.before, change.after
    return None if old is None else old.bytes, None if new is None else new.bytes


# --- bars --------------------------------------------------------------------------------------------------------


def _longest(values: Iterable[float | None]) -> float:
    return max((value for value in values if value is not None and math.isfinite(value)), default=0.0)


def _bar(pair: tuple[float | None, float | None], longest: float, words: Callable[[float], str]) -> Bar | None:
    """None where there is nothing on either side."""
    before, after = pair
    if not before and not after:
        return None
    shown = [text.NONE if value is None else words(value) for value in pair]
    return Bar(_share(before, longest), _share(after, longest), shown[0] if shown[0] == shown[1] else " → ".join(shown))


def _share(value: float | None, longest: float) -> float | None:
    return None if value is None else max(min(value / longest, 1.0), 0.0) if longest > 0 else 0.0


def _risk_bar(risk: _Risk | None, largest: float) -> Bar | None:
    if risk is None:
        return None
    return Bar(None, _share(risk.loss, largest), f"{text.signed(risk.loss, 3)} {risk.plugin}")


def _risks(facts: Facts, order: Sequence[str]) -> dict[str, _Risk]:
    """By layer: of the plugin that rewrote it in the best candidate, else of the one that hurts it least."""
    best = facts.result.best
    acted = {(edit.plugin, path) for edit in (best.plan.edits if best else ()) for path in covered(edit.site, order)}
    found: dict[str, tuple[bool, _Risk]] = {}
    for key, entries in facts.sensitivities.entries.items():
        plugin = key.partition(" ")[0]
        for site, entry in entries.items():
            for path in covered(site, order) if entry.is_finite else ():
                ranked = ((plugin, path) not in acted, entry.loss_increase)
                if path not in found or ranked < (found[path][0], found[path][1].loss):
                    found[path] = ranked[0], _Risk(entry.loss_increase, plugin)
    return {path: risk for path, (_, risk) in found.items()}


# --- the rail ----------------------------------------------------------------------------------------------------


def _ways(order: Sequence[str], before: Wiring, after: Wiring) -> tuple[tuple[Way, ...], int]:
    """Every edge as a line, and how many lanes they take beside the straight way."""
    rows = {name: number for number, name in enumerate(order)}
    gone = set(before.order) - set(after.order)
    edges = [(rows[a], rows[b], False) for a, b in after.edges]
    edges += [(rows[a], rows[b], True) for a, b in before.edges if a in gone or b in gone]
    taken: list[list[tuple[int, int]]] = []
    ways = []
    for start, end, old in sorted(edges, key=lambda edge: (edge[1] - edge[0], edge)):
        lane = 0 if end - start == 1 else 1 + _free_lane(taken, start, end)
        ways.append((start, end, old, lane))
    lanes = max((lane for *_, lane in ways), default=0)
    spine = NODE + LANE * lanes
    return tuple(Way(_line(start, end, spine, lane), old) for start, end, old, lane in ways), lanes


def _free_lane(taken: list[list[tuple[int, int]]], start: int, end: int) -> int:
    """The first lane on which nothing lies beside this way; the last one takes what is left."""
    low, high = min(start, end), max(start, end)
    for number, spans in enumerate(taken):
        if all(high <= a or b <= low for a, b in spans) or number == MOST_LANES - 1:
            spans.append((low, high))
            return number
    taken.append([(low, high)])
    return len(taken) - 1


def _line(start: int, end: int, spine: int, lane: int) -> str:
    """Down the spine, or out to a lane within half a row, along it, and back."""
    top, bottom = ROW * (start + 0.5), ROW * (end + 0.5)
    if not lane:
        return f"M{spine} {top:g}V{bottom:g}"
    x, half = spine - LANE * lane, (ROW / 2 if end > start else -ROW / 2)
    return (
        f"M{spine} {top:g}C{spine} {top + half:g} {x} {top:g} {x} {top + half:g}"
        f"V{bottom - half:g}C{x} {bottom:g} {spine} {bottom - half:g} {spine} {bottom:g}"
    )
