"""Finds plugins: what is installed, what of it works, and why the rest does not.

Three stages, each with its own type. ``discover`` reads package metadata and imports nothing (``Found``); ``load``
imports one plugin and checks what came (a ``Plugin`` class, or ``PluginError``); ``make`` validates options and gives
an instance. ``status`` does the first two for everything installed (``Working`` or ``Broken``).

A package registers plugins under the entry-point group ``compressor.plugins``; the entry point's name is the plugin's
name. Of two distributions that claim the same one neither is believed, unless one is the toolkit's own: nobody takes
its plugins' names away.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import inspect
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from compressor.errors import PluginError, did_you_mean
from compressor.foreign import described
from compressor.options import built, options_of
from compressor.plugin import Plugin

GROUP = "compressor.plugins"
OWN = "compressor"
"""The distribution whose plugins keep their names, whoever else claims them."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True, order=True)
class Found:
    """One entry point, as the metadata states it; nothing has been imported."""

    name: str
    value: str
    """``module:Class``"""
    distribution: str
    version: str

    @property
    def own(self) -> bool:
        """Whether it came with the toolkit."""
        return self.distribution.lower().replace("_", "-") == OWN

    def __str__(self) -> str:
        return f"plugin {self.name!r} of {self.distribution} {self.version}".rstrip()


@dataclass(frozen=True)
class Working:
    """A plugin that was found, imported and passed the checks."""

    found: Found
    plugin: type[Plugin]


@dataclass(frozen=True)
class Broken:
    """A plugin that was found and cannot be used, with the reason."""

    found: Found
    reason: str


def discover() -> tuple[Found, ...]:
    """Every registered plugin, by name, then distribution. Reads metadata only; once per search path and process."""
    return _discover(tuple(sys.path))


@functools.lru_cache(maxsize=8)
def _discover(search_path: tuple[str, ...]) -> tuple[Found, ...]:
    points = importlib.metadata.entry_points(group=GROUP)
    return tuple(sorted({Found(point.name, point.value, *_origin(point)) for point in points}))


def _origin(point: importlib.metadata.EntryPoint) -> tuple[str, str]:
    if point.dist is None:
        return "an unnamed distribution", ""
    metadata = point.dist.metadata
    return str(metadata["Name"] or "an unnamed distribution"), str(metadata["Version"] or "")


def status() -> tuple[Working | Broken, ...]:
    """Every registered plugin, imported and checked; failures keep their reason."""
    return tuple(_examine(found) for found in discover())


def class_of(found: Found) -> type[Plugin]:
    """The plugin class of this very entry point. Raises ``PluginError`` with the reason where it cannot be used."""
    result = _examine(found)
    if isinstance(result, Broken):
        raise PluginError(result.reason)
    return result.plugin


def load(name: str) -> type[Plugin]:
    """The plugin class called ``name``. Raises ``PluginError``: unknown, claimed twice, or broken."""
    claims = [found for found in discover() if found.name == name]
    if not claims:
        raise PluginError(unknown(name))
    result = _examine(next((found for found in claims if found.own), claims[0]))
    if isinstance(result, Broken):
        raise PluginError(f"{result.found} cannot be used: {result.reason}")
    return result.plugin


def titled(name: str) -> str:
    """``plugin 'x' of y 1.0``: whose code it is, for messages. Reads metadata only."""
    claims = [found for found in discover() if found.name == name]
    return str(next((found for found in claims if found.own), *claims[:1])) if claims else f"plugin {name!r}"


def module_of(name: str) -> str:
    """The module that the plugin called ``name`` is in, as its entry point says; empty for an unknown one."""
    claims = [found for found in discover() if found.name == name]
    return next((found for found in claims if found.own), claims[0]).value.partition(":")[0] if claims else ""


def unknown(name: str) -> str:
    """What to say where no plugin is called ``name``; empty where one is. Reads metadata only."""
    names = {found.name for found in discover()}
    return "" if name in names else f"there is no plugin {name!r}{did_you_mean(name, names)}"


def make(name: str, options: Mapping[str, Any] | None = None) -> Plugin:
    """The plugin called ``name`` with these options. Raises ``PluginError``: one line about the first thing wrong."""
    return construct(load(name), options or {}, name)


def construct(plugin: type[Plugin], options: Mapping[str, Any], name: str) -> Plugin:
    """An instance of ``plugin`` from plain options, validated strictly: no text for a number, no unknown names.

    Lists stand for tuples and text for enumeration members, as in TOML. Raises ``PluginError``.
    """
    try:
        return built(plugin, options)
    except ValueError as error:
        raise PluginError(f"plugin {name!r}: {error}") from error
    except (Exception, SystemExit) as error:  # a plugin's own __post_init__ may raise anything
        raise PluginError(f"plugin {name!r}: {described(error, plugin.__module__)}") from error


def _examine(found: Found) -> Working | Broken:
    rivals = [other for other in discover() if other.name == found.name and other != found]
    if any(rival.own for rival in rivals) and not found.own:
        return Broken(found, f"the name belongs to {OWN}'s own plugin; register it under another one")
    if rivals and not (found.own and not any(rival.own for rival in rivals)):
        others = ", ".join(f"{rival.distribution} {rival.version}".rstrip() for rival in rivals)
        return Broken(found, f"the name is also claimed by {others}; uninstall one of them")
    if not _NAME.fullmatch(found.name):
        return Broken(found, "a plugin's name is lower-case letters, digits, '-' and '_'")
    return _import(found)


@functools.lru_cache(maxsize=256)
def _import(found: Found) -> Working | Broken:
    try:
        thing = importlib.metadata.EntryPoint(found.name, found.value, GROUP).load()
        problem = _problem(thing)
    except (Exception, SystemExit) as error:  # foreign code may raise anything while it is imported
        return Broken(found, f"importing {found.value} failed: {described(error, found.value.partition(':')[0])}")
    return Broken(found, problem) if problem else Working(found, thing)


def _problem(thing: object) -> str:
    """What keeps ``thing`` from being a usable plugin class; empty when nothing does."""
    if not isinstance(thing, type) or not issubclass(thing, Plugin):
        return f"it is {thing!r}, not a subclass of compressor.plugin.Plugin"
    if "__dataclass_params__" not in vars(thing):
        return f"{thing.__name__} is not a dataclass; decorate it with @dataclass(frozen=True)"
    if inspect.isabstract(thing):
        return f"{thing.__name__} does not define {', '.join(sorted(thing.__abstractmethods__))}"
    required = [option.name for option in options_of(thing) if option.default is dataclasses.MISSING]
    if required:
        return f"option {required[0]!r} of {thing.__name__} has no default"
    try:
        TypeAdapter(thing).rebuild()
    except (PydanticUserError, NameError) as error:
        return f"an option of {thing.__name__} has a type that cannot be read from a recipe: {_one_line(error)}"
    return ""


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "no message"
