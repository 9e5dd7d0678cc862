"""Finds what packages offer: what is installed, what of it works, and why the rest does not.

Two kinds of things are offered, each under an entry-point group of its own: plugins and pilot studies. The entry
point's name is the name that recipes use. A ``Registry`` goes through three stages, each with its own type:
``discover`` reads package metadata and imports nothing (``Found``); ``load`` imports one and checks what came (a class,
or ``PluginError``); ``make`` validates options and gives an instance. ``status`` does the first two for everything
installed (``Working`` or ``Broken``).

Of two distributions that claim the same name neither is believed, unless one is the toolkit's own: nobody takes its
names away.
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
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from compressor.errors import PluginError, did_you_mean
from compressor.foreign import described
from compressor.options import built, options_of
from compressor.pilot import Pilot
from compressor.plugin import Plugin

OWN = "compressor"
"""The distribution whose plugins keep their names, whoever else claims them."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")

Offered = TypeVar("Offered", Plugin, Pilot)


@dataclass(frozen=True, order=True)
class Found:
    """One entry point, as the metadata states it; nothing has been imported."""

    name: str
    value: str
    """``module:Class``"""
    distribution: str
    version: str
    noun: str = "plugin"
    """What is offered, for messages."""

    @property
    def own(self) -> bool:
        """Whether it came with the toolkit."""
        return self.distribution.lower().replace("_", "-") == OWN

    def __str__(self) -> str:
        return f"{self.noun} {self.name!r} of {self.distribution} {self.version}".rstrip()


@dataclass(frozen=True)
class Working(Generic[Offered]):
    """Something that was found, imported and passed the checks."""

    found: Found
    plugin: type[Offered]


@dataclass(frozen=True)
class Broken:
    """Something that was found and cannot be used, with the reason."""

    found: Found
    reason: str


class Registry(Generic[Offered]):
    """What is offered under one entry-point ``group``: subclasses of ``base``, each called a ``noun`` in messages."""

    def __init__(self, group: str, base: type[Offered], noun: str) -> None:
        self.group, self._noun = group, noun
        self._base: type[Offered] = base
        self._imported: dict[Found, Working[Offered] | Broken] = {}

    def discover(self) -> tuple[Found, ...]:
        """Everything registered, by name, then distribution. Reads metadata only; once per search path and process."""
        return _discover(self.group, self._noun, tuple(sys.path))

    def status(self) -> tuple[Working[Offered] | Broken, ...]:
        """Everything registered, imported and checked; failures keep their reason."""
        return tuple(self._examine(found) for found in self.discover())

    def class_of(self, found: Found) -> type[Offered]:
        """The class of this very entry point. Raises ``PluginError`` with the reason where it cannot be used."""
        result = self._examine(found)
        if isinstance(result, Broken):
            raise PluginError(result.reason)
        return result.plugin

    def load(self, name: str) -> type[Offered]:
        """The class called ``name``. Raises ``PluginError``: unknown, claimed twice, or broken."""
        claim = self._claim(name)
        if claim is None:
            raise PluginError(self.unknown(name))
        result = self._examine(claim)
        if isinstance(result, Broken):
            raise PluginError(f"{result.found} cannot be used: {result.reason}")
        return result.plugin

    def meant(self, name: str) -> str:
        """``name``, or where that is empty the only one that comes with the toolkit. Raises ``PluginError``."""
        own = [found.name for found in self.discover() if found.own]
        if not name and len(own) != 1:
            raise PluginError(f"say which {self._noun}: {', '.join(own) or 'none is installed'}")
        return name or own[0]

    def titled(self, name: str) -> str:
        """``plugin 'x' of y 1.0``: whose code it is, for messages. Reads metadata only."""
        claim = self._claim(name)
        return f"{self._noun} {name!r}" if claim is None else str(claim)

    def module_of(self, name: str) -> str:
        """The module that ``name`` is in, as its entry point says; empty for an unknown one."""
        claim = self._claim(name)
        return "" if claim is None else claim.value.partition(":")[0]

    def unknown(self, name: str) -> str:
        """What to say where nothing is called ``name``; empty where something is. Reads metadata only."""
        names = {found.name for found in self.discover()}
        return "" if name in names else f"there is no {self._noun} {name!r}{did_you_mean(name, names)}"

    def make(self, name: str, options: Mapping[str, Any] | None = None) -> Offered:
        """An instance of ``name`` with these options. Raises ``PluginError``: one line about the first thing wrong."""
        return self.construct(self.load(name), options or {}, name)

    def construct(self, kind: type[Offered], options: Mapping[str, Any], name: str) -> Offered:
        """An instance of ``kind`` from plain options, validated strictly: no text for a number, no unknown names.

        Lists stand for tuples and text for enumeration members, as in TOML. Raises ``PluginError``.
        """
        try:
            return built(kind, options)
        except ValueError as error:
            raise PluginError(f"{self._noun} {name!r}: {error}") from error
        except (Exception, SystemExit) as error:  # its own __post_init__ may raise anything
            raise PluginError(f"{self._noun} {name!r}: {described(error, kind.__module__)}") from error

    def forget(self) -> None:
        """Import what is asked for next anew, where its package may have changed."""
        self._imported.clear()

    def _claim(self, name: str) -> Found | None:
        """The entry point that is meant by ``name``: the toolkit's own, or else the first."""
        claims = [found for found in self.discover() if found.name == name]
        return next((found for found in claims if found.own), claims[0] if claims else None)

    def _examine(self, found: Found) -> Working[Offered] | Broken:
        rivals = [other for other in self.discover() if other.name == found.name and other != found]
        if any(rival.own for rival in rivals) and not found.own:
            return Broken(found, f"the name belongs to {OWN}'s own {self._noun}; register it under another one")
        if rivals and not (found.own and not any(rival.own for rival in rivals)):
            others = ", ".join(f"{rival.distribution} {rival.version}".rstrip() for rival in rivals)
            return Broken(found, f"the name is also claimed by {others}; uninstall one of them")
        if not _NAME.fullmatch(found.name):
            return Broken(found, f"a {self._noun}'s name is lower-case letters, digits, '-' and '_'")
        if found not in self._imported:
            self._imported[found] = self._import(found)
        return self._imported[found]

    def _import(self, found: Found) -> Working[Offered] | Broken:
        try:
            thing = importlib.metadata.EntryPoint(found.name, found.value, self.group).load()
            problem = self._problem(thing)
        except (Exception, SystemExit) as error:  # foreign code may raise anything while it is imported
            return Broken(found, f"importing {found.value} failed: {described(error, found.value.partition(':')[0])}")
        return Broken(found, problem) if problem else Working(found, thing)

    def _problem(self, thing: object) -> str:
        """What keeps ``thing`` from being a usable class; empty when nothing does."""
        if not isinstance(thing, type) or not issubclass(thing, self._base):
            return f"it is {thing!r}, not a subclass of {self._base.__module__}.{self._base.__name__}"
        if "__dataclass_params__" not in vars(thing):
            return f"{thing.__name__} is not a dataclass; decorate it with @dataclass(frozen=True)"
        if inspect.isabstract(thing):
            return f"{thing.__name__} does not define {', '.join(sorted(vars(thing)['__abstractmethods__']))}"
        required = [option.name for option in options_of(thing) if option.default is dataclasses.MISSING]
        if required:
            return f"option {required[0]!r} of {thing.__name__} has no default"
        try:
            TypeAdapter(thing).rebuild()
        except (PydanticUserError, NameError) as error:
            return f"an option of {thing.__name__} has a type that cannot be read from a recipe: {_one_line(error)}"
        return ""


@functools.lru_cache(maxsize=16)
def _discover(group: str, noun: str, search_path: tuple[str, ...]) -> tuple[Found, ...]:
    points = importlib.metadata.entry_points(group=group)
    return tuple(sorted({Found(point.name, point.value, *_origin(point), noun) for point in points}))


def _origin(point: importlib.metadata.EntryPoint) -> tuple[str, str]:
    if point.dist is None:
        return "an unnamed distribution", ""
    metadata = point.dist.metadata
    return str(metadata["Name"] or "an unnamed distribution"), str(metadata["Version"] or "")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "no message"


PLUGINS: Registry[Plugin] = Registry("compressor.plugins", Plugin, "plugin")  # type: ignore[type-abstract]
PILOTS: Registry[Pilot] = Registry("compressor.pilots", Pilot, "pilot study")  # type: ignore[type-abstract]

GROUP = PLUGINS.group
discover, status, class_of, load = PLUGINS.discover, PLUGINS.status, PLUGINS.class_of, PLUGINS.load
titled, module_of, unknown = PLUGINS.titled, PLUGINS.module_of, PLUGINS.unknown
make, construct = PLUGINS.make, PLUGINS.construct
