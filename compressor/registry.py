"""Finds plugins: what is installed, what of it works, and why the rest does not.

Three stages, each with its own type. ``discover`` reads package metadata and imports nothing (``Found``); ``load``
imports one plugin and checks what came (a ``Plugin`` class, or ``PluginError``); ``make`` validates options and gives
an instance. ``status`` does the first two for everything installed (``Working`` or ``Broken``).

A package registers plugins under the entry-point group ``compressor.plugins``; the entry point's name is the plugin's
name, and no two distributions may claim the same one.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import inspect
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from compressor.errors import PluginError, did_you_mean
from compressor.plugin import Plugin

GROUP = "compressor.plugins"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True, order=True)
class Found:
    """One entry point, as the metadata states it; nothing has been imported."""

    name: str
    value: str
    """``module:Class``"""
    distribution: str
    version: str

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


@dataclass(frozen=True)
class Option:
    """One field of a plugin, as a recipe may set it."""

    name: str
    type: str
    default: Any


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


def load(name: str) -> type[Plugin]:
    """The plugin class called ``name``. Raises ``PluginError``: unknown, claimed twice, or broken."""
    known = discover()
    claims = [found for found in known if found.name == name]
    if not claims:
        raise PluginError(f"there is no plugin {name!r}{did_you_mean(name, {found.name for found in known})}")
    result = _examine(claims[0])
    if isinstance(result, Broken):
        raise PluginError(f"{result.found} cannot be used: {result.reason}")
    return result.plugin


def make(name: str, options: Mapping[str, Any] | None = None) -> Plugin:
    """The plugin called ``name`` with these options. Raises ``PluginError``: one line about the first thing wrong."""
    return construct(load(name), options or {}, name)


def construct(plugin: type[Plugin], options: Mapping[str, Any], name: str) -> Plugin:
    """An instance of ``plugin`` from plain options, validated strictly: no text for a number, no unknown names.

    Lists stand for tuples and text for enumeration members, as in TOML. Raises ``PluginError``.
    """
    known = {option.name for option in options_of(plugin)}
    for key in options:
        if key not in known:
            hint = did_you_mean(str(key), known) if known else "; it has no options"
            raise PluginError(f"plugin {name!r}: unknown option {key!r}{hint}")
    try:
        text = json.dumps(dict(options))
    except (TypeError, ValueError) as error:
        raise PluginError(f"plugin {name!r}: options must be plain data: {error}") from error
    try:
        return TypeAdapter(plugin).validate_json(text, strict=True)
    except ValidationError as error:
        raise PluginError(f"plugin {name!r}: {_first_problem(error)}") from error
    except Exception as error:  # a plugin's own __post_init__ may raise anything
        raise PluginError(f"plugin {name!r}: {type(error).__name__}: {_one_line(error)}") from error


def options_of(plugin: type[Plugin]) -> tuple[Option, ...]:
    """The options of a plugin class: its dataclass fields, in order."""
    return tuple(
        Option(field.name, _type_name(field.type), _default(field))
        for field in dataclasses.fields(plugin)
        if field.init
    )


def _examine(found: Found) -> Working | Broken:
    rivals = [other for other in discover() if other.name == found.name and other != found]
    if rivals:
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
        return Broken(found, f"importing {found.value} failed: {type(error).__name__}: {_one_line(error)}")
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


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default


def _type_name(annotation: object) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if not where:
        return message
    return f"option {where!r} cannot be {first['input']!r}: {message[:1].lower()}{message[1:]}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "no message"
