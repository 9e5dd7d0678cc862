"""Policies: how a few knobs become edits at many sites.

A search over every layer's own knobs drowns; four budget knobs at 25 trials do what thirty layer knobs do at 200. A
policy asks a plugin only for its sites, so every plugin, a third party's included, gets all policies for nothing.

    spread      `count` sites, the most worthwhile by measured sensitivity, all with the same knob values (the default)
    threshold   every site whose measured loss increase per saving is below `tau`, all with the same knob values
    mixed       every site whose loss increase per saving is below `tau` at some values of its knobs, with the best
    each        every site has its own switch and its own knobs
    all         every site, with the same knob values
"""

from __future__ import annotations

import fnmatch
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from compressor.engine.plan import Decision, Edit
from compressor.engine.sensitivity import Admits, SiteSensitivity, rank
from compressor.knobs import Choice, Choices, FloatRange, IntRange, Knob, Value
from compressor.plugin import Site

COUNT, FOLLOW, TAU = "count", "follow", "tau"
_MOST_COUNTS = 16


class Policy(ABC):
    """Turns the sites of a plugin into knobs, and chosen values back into edits."""

    measured: ClassVar[bool] = False
    """Whether it chooses sites by what was measured of them."""

    @abstractmethod
    def knobs(self, sites: Sequence[Site]) -> dict[str, Knob]:
        """The knobs to search, given the sites of the network. ``sites`` is not empty."""

    @abstractmethod
    def edits(self, decision: Decision, sites: Sequence[Site], known: Mapping[str, SiteSensitivity]) -> Iterator[Edit]:
        """Edits in order of preference; those that no longer apply when their turn comes are passed over."""

    def limit(self, decision: Decision, sites: Sequence[Site]) -> int:
        """The most edits the decision asks for."""
        return len(sites)


class All(Policy):
    """Every site, with one value per knob name."""

    def knobs(self, sites: Sequence[Site]) -> dict[str, Knob]:
        return shared_knobs(sites)

    def edits(self, decision: Decision, sites: Sequence[Site], known: Mapping[str, SiteSensitivity]) -> Iterator[Edit]:
        for site in sites:
            yield edit_at(decision, site, decision.values)


class Spread(Policy):
    """The ``count`` most worthwhile sites; ``follow`` says how strongly measured sensitivity counts against saving."""

    measured = True
    FOLLOWS: ClassVar[tuple[Value, ...]] = (1.0, 0.5, 0.0)

    def knobs(self, sites: Sequence[Site]) -> dict[str, Knob]:
        knobs: dict[str, Knob] = {}
        if len(sites) > 1:
            step = math.ceil(len(sites) / _MOST_COUNTS)
            knobs[COUNT] = IntRange(step if step > 1 else 1, len(sites), step)
        if len(sites) > 2:
            knobs[FOLLOW] = Choice(self.FOLLOWS)
        return {**knobs, **shared_knobs(sites)}

    def edits(self, decision: Decision, sites: Sequence[Site], known: Mapping[str, SiteSensitivity]) -> Iterator[Edit]:
        follow = float(decision.values.get(FOLLOW, 1.0))
        edits, measured = _at_their_values(decision, sites, known)
        for path in rank(list(edits), measured, follow):
            yield edits[path]

    def limit(self, decision: Decision, sites: Sequence[Site]) -> int:
        return int(decision.values.get(COUNT, len(sites)))


class Threshold(Policy):
    """Every site whose loss increase per saving (shares of the network) is below ``tau``, the best first.

    Sites that save nothing have no efficiency and are left alone. Each is measured alone: together they may cost more.
    """

    measured = True
    TAUS: ClassVar[FloatRange] = FloatRange(1e-3, 10.0, log=True)

    def knobs(self, sites: Sequence[Site]) -> dict[str, Knob]:
        return {TAU: self.TAUS, **shared_knobs(sites)}

    def edits(self, decision: Decision, sites: Sequence[Site], known: Mapping[str, SiteSensitivity]) -> Iterator[Edit]:
        tau = float(decision.values.get(TAU, self.TAUS.default))
        edits, measured = _at_their_values(decision, sites, known)
        for path in rank(list(edits), measured, 1.0):
            entry = measured.get(path)
            if entry is not None and entry.saving > 0 and entry.loss_increase / entry.saving < tau:
                yield edits[path]


class Mixed(Policy):
    """Every site at the values of its knobs with the least ``loss increase − tau · saving``, if that is below 0.

    One knob for the whole network: with ``tau`` more sites are rewritten, and further (from 8 to 4 bits). The best
    first. For a plugin whose sites add up, no other choice that saves as much is measured to cost less loss.
    """

    measured = True
    TAUS: ClassVar[FloatRange] = FloatRange(1e-3, 10.0, log=True)

    def knobs(self, sites: Sequence[Site]) -> dict[str, Knob]:
        return {TAU: self.TAUS}

    def edits(self, decision: Decision, sites: Sequence[Site], known: Mapping[str, SiteSensitivity]) -> Iterator[Edit]:
        tau = float(decision.values.get(TAU, self.TAUS.default))

        def price(entry: SiteSensitivity) -> float:
            return max(entry.loss_increase, 0.0) - tau * entry.saving

        found = []
        for site in sites:
            measured = [entry for entry in known[site.path].every if entry.is_finite] if site.path in known else []
            best = min(measured, key=price, default=None)
            if best is not None and price(best) < 0:
                found.append((price(best), edit_at(decision, site, best.choice)))
        for _, edit in sorted(found, key=lambda pair: pair[0]):
            yield edit


class Each(Policy):
    """A switch named after every site, and knobs named ``site:knob``."""

    def knobs(self, sites: Sequence[Site]) -> dict[str, Knob]:
        knobs: dict[str, Knob] = {}
        for site in sites:
            knobs[site.path] = Choice((False, True))
            knobs.update({f"{site.path}:{name}": knob for name, knob in site.knobs.items()})
        return knobs

    def edits(self, decision: Decision, sites: Sequence[Site], known: Mapping[str, SiteSensitivity]) -> Iterator[Edit]:
        for site in sites:
            if decision.values.get(site.path, False):
                own = {
                    name: decision.values[key]
                    for name in site.knobs
                    if (key := f"{site.path}:{name}") in decision.values
                }
                yield edit_at(decision, site, own)


POLICIES: Mapping[str, Policy] = {
    "spread": Spread(), "threshold": Threshold(), "mixed": Mixed(), "each": Each(), "all": All(),
}  # fmt: skip


def admitted(sites: Sequence[Site], only: Sequence[str], skip: Sequence[str]) -> list[Site]:
    """The sites whose path matches a pattern of ``only`` and none of ``skip`` (shell patterns)."""
    return [site for site in sites if admits(site.path, only, skip)]


def admits(path: str, only: Sequence[str], skip: Sequence[str]) -> bool:
    """Whether ``path`` matches a pattern of ``only`` and none of ``skip``."""
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in only) and not any(
        fnmatch.fnmatchcase(path, pattern) for pattern in skip
    )


def admitting(uses: Sequence[tuple[str, Mapping[str, Any], Sequence[str], Sequence[str]]]) -> Admits:
    """Whether any of these uses of a plugin (name, options, only, skip) admits a site."""

    def asked(name: str, options: Mapping[str, Any], site: Site) -> bool:
        return any(use[:2] == (name, options) and admits(site.path, use[2], use[3]) for use in uses)

    return asked


def edit_at(decision: Decision, site: Site, values: Choices) -> Edit:
    """The decision's edit at one site: each knob takes the value of its name, moved to the nearest useful one."""
    choice = {name: knob.nearest(values[name]) if name in values else knob.default for name, knob in site.knobs.items()}
    return Edit(decision.plugin, site.path, choice, decision.options)


def _at_their_values(
    decision: Decision, sites: Sequence[Site], known: Mapping[str, SiteSensitivity]
) -> tuple[dict[str, Edit], dict[str, SiteSensitivity]]:
    """By path: the decision's edit at each site, and what was measured at the values of that edit."""
    edits = {site.path: edit_at(decision, site, decision.values) for site in sites}
    return edits, {path: known[path].at(edit.choice) for path, edit in edits.items() if path in known}


def shared_knobs(sites: Sequence[Site]) -> dict[str, Knob]:
    """One knob per name that covers what any site offers; each site later takes the nearest value it allows."""
    merged: dict[str, Knob] = {}
    for site in sites:
        for name, knob in site.knobs.items():
            merged[name] = _cover(merged[name], knob) if name in merged else knob
    return merged


def _cover(left: Knob, right: Knob) -> Knob:
    match left, right:
        case Choice(), Choice():
            return Choice((*left.options, *(option for option in right.options if not left.contains(option))))
        case IntRange(), IntRange():
            low, high = min(left.low, right.low), max(left.high, right.high)
            return IntRange(
                low, high, math.gcd(left.step, right.step, abs(left.low - right.low)), left.log and right.log
            )
        case FloatRange(), FloatRange():
            return FloatRange(min(left.low, right.low), max(left.high, right.high), left.log and right.log)
        case _:
            return left
