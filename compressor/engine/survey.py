"""What a plugin says about a network, as plain data: its sites, its refusals, or how asking it failed.

Asking runs the plugin's code, which may be anybody's: ``survey`` does it here, ``surveyor`` in a process of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compressor.apart import each_apart
from compressor.engine.apply import acting
from compressor.errors import CompressorError, ForeignError
from compressor.graph.network import Network
from compressor.knobs import Choice, FloatRange, IntRange, Knob
from compressor.plugin import Refused, Site, Suggestion, sites_of, unseen
from compressor.registry import make, titled

PLUGIN_SECONDS = 60.0
"""How long a plugin may take over one answer, unless the recipe says otherwise."""
MOST_PLACES = 100_000
"""A plugin that names more places than that will not come to an end."""

Asked = tuple[str, Mapping[str, Any]]
"""A plugin's name and its options."""


@dataclass(frozen=True)
class Surveyed:
    """Where a plugin can act in a network, and where it will not and why; or, with a ``failure``, nothing."""

    sites: tuple[Site, ...] = ()
    refused: tuple[Refused, ...] = ()
    failure: str = ""


Surveyor = Callable[[Sequence[Asked]], list[Surveyed]]
"""Asks plugins about one network, each with its options; never raises for what a plugin does."""


def survey(asked: Asked, network: Network) -> Surveyed:
    """Ask one plugin. Raises ``ForeignError`` for what it raises, or answers that are no places."""
    name, options = asked
    with acting(name):
        plugin = make(name, options)
        found = list(itertools.islice(plugin.sites(network), MOST_PLACES + 1))
        if len(found) > MOST_PLACES:
            raise ForeignError(f"{titled(name)}: sites() does not come to an end ({MOST_PLACES:,} places)")
        places = [_plain(place, name) for place in found]
    return Surveyed(
        tuple(place for place in places if isinstance(place, Site)),
        (*(place for place in places if isinstance(place, Refused)), *unseen(network)),
    )


def surveyor(network: Network, seconds: float = PLUGIN_SECONDS) -> Surveyor:
    """Asks about ``network`` in a process of its own; each plugin may take ``seconds``."""

    def ask(plugins: Sequence[Asked]) -> list[Surveyed]:
        answers = each_apart(plugins, lambda asked: survey(asked, network), seconds=seconds)
        return [Surveyed(failure=str(answer)) if isinstance(answer, CompressorError) else answer for answer in answers]

    return ask


def suggestions(network: Network, names: Sequence[str], seconds: float = PLUGIN_SECONDS) -> dict[str, Suggestion]:
    """What the plugins called ``names`` would do with ``network`` by themselves, each asked in a process of its own.

    One that fails, or has nothing to do, is left out.
    """

    def ask(name: str) -> Suggestion | None:
        with acting(name):
            plugin = make(name)
            sites = sites_of(plugin, network)
            found = plugin.suggest(network, sites) if sites else None
        return found if isinstance(found, Suggestion) else None

    answers = zip(names, each_apart(names, ask, seconds=seconds), strict=True)
    return {name: answer for name, answer in answers if isinstance(answer, Suggestion)}


def _plain(place: object, name: str) -> Site | Refused:
    """The place without anything of the plugin's own types, which nobody else could read."""
    match place:
        case Site():
            knobs = {str(key): _knob(knob, name, place.path) for key, knob in place.knobs.items()}
            return Site(str(place.path), knobs, tuple(map(str, place.nodes)), str(place.about))
        case Refused():
            return Refused(str(place.path), str(place.reason))
    raise ForeignError(f"{titled(name)}: sites() yields a {type(place).__name__}, not a Site or Refused")


def _knob(knob: object, name: str, path: str) -> Knob:
    match knob:
        case Choice(options=options) if all(isinstance(option, bool | int | float | str) for option in options):
            return Choice(tuple(options))
        case IntRange():
            return IntRange(knob.low, knob.high, knob.step, knob.log)
        case FloatRange():
            return FloatRange(knob.low, knob.high, knob.log)
    raise ForeignError(f"{titled(name)}, site {path}: {knob!r:.100} is no knob: a Choice of plain values, or a range")
