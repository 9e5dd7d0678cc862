"""Checks of ``sites``: what a plugin says about a network before it touches it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from compressor.errors import GraphError, Refusal
from compressor.evidence import Evidence
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.knobs import Choice, FloatRange, IntRange, defaults
from compressor.plugin import Refused, Site, sites_of
from compressor.testing.case import Case, same, values_to_try
from compressor.testing.findings import Trouble, trouble

Messages = Iterator[tuple[str, str | Trouble]]
"""Pairs of site path and message."""


def sites_are_deterministic(case: Case) -> Messages:
    """Asked twice, and asked about a copy, the plugin gives the same places in the same order."""
    first, second = list(case.plugin.sites(case.network)), list(case.plugin.sites(case.network))
    if first != second:
        yield "", "sites() gives different answers when asked twice"
    elif first != list(case.plugin.sites(case.network.fork())):
        yield "", "sites() gives a different answer for a copy of the network"


def sites_leave_the_network_alone(case: Case) -> Messages:
    before = case.network.fork()
    list(case.plugin.sites(case.network))
    if not same(before, case.network, case.images):
        yield "", "sites() changed the network"


def sites_are_well_formed(case: Case) -> Messages:
    """Unique paths, nodes that exist, reasons that say something."""
    seen: set[str] = set()
    names = {node.name for node in case.network.graph.nodes}
    for place in case.plugin.sites(case.network):
        if not isinstance(place, Site | Refused):
            yield "", f"sites() yields a {type(place).__name__}, not a Site or Refused"
            continue
        if not place.path or place.path in seen:
            yield place.path, "the path is empty or not unique"
        seen.add(place.path)
        if isinstance(place, Refused) and not place.reason.strip():
            yield place.path, "refused without a reason"
        for missing in set(place.nodes) - names if isinstance(place, Site) else ():
            yield place.path, f"names a node the network does not have: {missing!r}"


def shortlists_are_sites(case: Case) -> Messages:
    """What is worth measuring are sites that were offered, each once, and asking changes nothing."""
    offered = sites_of(case.plugin, case.network)
    before = case.network.fork()
    shortlist = list(case.plugin.worth_measuring(case.network, offered, case.evidence))
    for site in shortlist:
        if site not in offered:
            yield getattr(site, "path", ""), "worth_measuring() names a site that was not offered"
    if len({site.path for site in shortlist}) < len(shortlist):
        yield "", "worth_measuring() names a site twice"
    if not same(before, case.network, case.images):
        yield "", "worth_measuring() changed the network"


def knobs_are_useful(case: Case) -> Messages:
    """Every knob has several values, and different values lead to different networks."""
    for site in case.sites:
        for name, knob in site.knobs.items():
            if not isinstance(knob, Choice | IntRange | FloatRange):
                yield site.path, f"knob {name!r} is a {type(knob).__name__}"
            elif len(values_to_try(knob)) < 2:
                yield site.path, f"knob {name!r} has one value only: there is nothing to choose"
            else:
                yield from _differ(case, site, name)


def _differ(case: Case, site: Site, name: str) -> Messages:
    results: list[tuple[object, Network]] = []
    for value in values_to_try(site.knobs[name]):
        try:
            network, _ = case.rewrite(site, {**defaults(site.knobs), name: value})
        except Refusal as refusal:
            yield site.path, f"offers knob {name!r} = {value!r} and then refuses it: {refusal}"
            continue
        twin = next((other for other, earlier in results if same(earlier, network, case.images)), None)
        if twin is not None:
            yield site.path, f"knob {name!r} makes no difference between {twin!r} and {value!r}"
        results.append((value, network))


def refusals_come_before_edits(case: Case) -> Messages:
    """A refusal leaves the network alone: without evidence, at a site that is gone, at a place already refused."""
    for attempt, evidence, network, site in _unlikely_attempts(case):
        before = network.fork()
        editor = Editor(network, evidence)
        try:
            case.plugin.rewrite(editor, site, defaults(site.knobs))
        except (Refusal, GraphError) as refusal:  # a GraphError is the editor's own refusal: the place is gone
            if editor.changes or not same(before, network, case.images):
                yield site.path, f"refused {attempt} after it had edited: {refusal}"
        except Exception as error:  # whatever else a plugin raises here is what there is to report
            module = type(case.plugin).__module__
            yield site.path, trouble(error, module, f"{attempt}: raised {{}}, and not Refusal")


def _unlikely_attempts(case: Case) -> Iterator[tuple[str, Evidence | None, Network, Site]]:
    for site in case.sites:
        yield "without evidence", None, case.network.fork(), site
    for done in case.rewritten:
        yield "at a site that was rewritten already", case.evidence, done.network.fork(), done.site
    for site in case.sites[:1]:
        yield "at a site that does not exist", case.evidence, case.network.fork(), replace(site, path="no.such..place")


def sites_can_be_rewritten(case: Case) -> Messages:
    """A site offered is a site where the default choice works."""
    for site in sites_of(case.plugin, case.network):
        if site in case.sites:
            try:
                case.rewrite(site, defaults(site.knobs))
            except Refusal as refusal:
                yield site.path, f"offered as a site, but refused with the default choice: {refusal}"
