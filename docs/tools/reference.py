"""Writes the generated pages of docs/reference from the code itself.

    python docs/tools/reference.py

``tests/docs/test_reference.py`` holds the pages against this, so they are current whenever the tests pass.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer.main
from pydantic import ConfigDict, TypeAdapter

from compressor import errors, registry
from compressor.cli.app import app
from compressor.graph.layers.table import KINDS
from compressor.recipe.schema import recipe_schema

FOLDER = Path(__file__).parents[1] / "reference"
HEAD = "<!-- Written by docs/tools/reference.py from the code; not by hand. -->\n"


def pages() -> dict[str, str]:
    """File name → text of every generated page."""
    return {
        "commands.md": page(commands()),
        "recipe.md": page(recipe()),
        "plugins.md": page(plugins()),
        "layers.md": page(layers()),
        "errors.md": page(exceptions()),
    }


def page(lines: Iterator[str]) -> str:
    return HEAD + "\n".join(lines).rstrip("\n") + "\n"


def table(head: str, rows: list[tuple[str, ...]]) -> Iterator[str]:
    columns = head.split(", ")
    yield from ("| " + " | ".join(columns) + " |", "|" + "---|" * len(columns))
    yield from ("| " + " | ".join(cell(text) for text in row) + " |" for row in rows)
    yield ""


def cell(text: str) -> str:
    """One line, safe within a table."""
    return " ".join(text.replace("``", "`").split()).replace("|", "\\|")


# Commands -------------------------------------------------------------------------------------------------------------


def commands() -> Iterator[str]:
    yield from (
        "# Commands and their options",
        "",
        "What `--help` says, for every command. Examples with their output: [command line](../command_line.md).",
        "",
    )
    root: Any = typer.main.get_command(app)
    for name, command in root.commands.items():
        yield from one_command(f"compressor {name}", command)


def one_command(name: str, command: Any) -> Iterator[str]:
    yield from (f"## {name}", "", *(command.help or "").replace("\b", "").strip().splitlines(), "")
    arguments = [entry for entry in command.params if entry.param_type_name == "argument"]
    options = [entry for entry in command.params if entry.param_type_name == "option" and entry.name != "help"]
    if command.params:
        words = [entry.metavar or entry.name.upper() for entry in arguments]
        yield from ("```", " ".join([name, *words, "[OPTIONS]"]), "```", "")
    rows = [(f"`{entry.metavar or entry.name.upper()}`", entry.help or "", "") for entry in arguments]
    rows += [(spelled(entry), entry.help or "", default(entry)) for entry in options]
    if rows:
        yield from table("argument or option, meaning, default", rows)
    for inner, nested in getattr(command, "commands", {}).items():
        yield from one_command(f"{name} {inner}", nested)


def spelled(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    return f"{names} `{option.metavar}`" if option.metavar else names


def default(option: Any) -> str:
    value = option.default
    return "" if value in (None, "", False) or callable(value) else f"`{value}`"


# Recipe ---------------------------------------------------------------------------------------------------------------

TABLES = {"phases": "[[phases]]"}


def recipe() -> Iterator[str]:
    schema = recipe_schema()
    yield from (
        "# Every key of a recipe",
        "",
        "From the schema that recipes are checked by ([recipe.schema.json](../recipe.schema.json), "
        "`compressor recipe schema`). How the tables work together: [recipes](../recipes.md).",
        "",
    )
    top = [(key, node) for key, node in schema["properties"].items() if table_of(schema, node) is None]
    yield from ("## Before the first table", "", *keys(top, set()))
    shown: set[str] = set()
    for key, node in schema["properties"].items():
        yield from tables(schema, key, node, shown)


def tables(schema: dict[str, Any], path: str, node: dict[str, Any], shown: set[str]) -> Iterator[str]:
    """The table at ``path``, then those within it; a kind of table is told once."""
    found = table_of(schema, node)
    if found is None:
        return
    kind, many = found
    head = f"[[{path}]]" if many else f"[{path}]"
    definition = schema["$defs"][kind]
    about = "\n".join((definition.get("description") or "").replace("``", "`").splitlines())
    if kind in shown:
        return
    shown.add(kind)
    yield from (f"## `{head}`", "", about, "")
    required = set(definition.get("required", ()))
    properties = definition["properties"].items()
    yield from keys([(key, inner) for key, inner in properties if table_of(schema, inner) is None], required)
    for key, inner in properties:
        yield from tables(schema, f"{path}.{key}", inner, shown)


def table_of(schema: dict[str, Any], node: dict[str, Any]) -> tuple[str, bool] | None:
    """The name of the table that a key holds, and whether it holds a list of them; ``None`` for plain values."""
    for option in [node, *node.get("anyOf", ())]:
        if "$ref" in option:
            return option["$ref"].rpartition("/")[2], False
        if "$ref" in option.get("items", {}):
            return option["items"]["$ref"].rpartition("/")[2], True
    return None


def keys(entries: list[tuple[str, dict[str, Any]]], required: set[str]) -> Iterator[str]:
    rows = [
        (f"`{key}`", kind(node), "required" if key in required else value(node), node.get("description", ""))
        for key, node in entries
    ]
    yield from table("key, takes, default, meaning", rows)


def kind(node: dict[str, Any]) -> str:
    """What a key may hold, in words."""
    if "enum" in node:
        return ", ".join(f"`{json.dumps(entry)}`" for entry in node["enum"])
    if "const" in node:
        return f"`{json.dumps(node['const'])}`"
    if "anyOf" in node:
        return " or ".join(dict.fromkeys(kind(option) for option in node["anyOf"] if option.get("type") != "null"))
    if node.get("type") == "array":
        inner = node.get("items") or {}
        return f"list of {kind(inner)}" if inner else "list"
    names = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
    return names.get(node.get("type", ""), "table" if node.get("type") == "object" else "value")


def value(node: dict[str, Any]) -> str:
    given = node.get("default")
    return "" if given is None else f"`{json.dumps(given, ensure_ascii=False)}`"


# Plugins --------------------------------------------------------------------------------------------------------------


def plugins() -> Iterator[str]:
    yield from (
        "# Plugins and their options",
        "",
        "Those that come with the package. The *promise* says what a rewrite does to the network's function before any "
        "training: `exact` (the same up to rounding), `approximate` (close to it), `trained` (another one, until it "
        "has been trained).",
        "",
    )
    working = [entry for entry in registry.status() if isinstance(entry, registry.Working) and entry.found.own]
    for entry in working:
        name, plugin = entry.found.name, entry.plugin
        yield from (
            f"## {name}",
            "",
            f"{plugin.summary()} Promise: `{plugin.promise.value}`. [Its page](../plugins/{name}.md).",
            "",
        )
        options = TypeAdapter(commented(plugin)).json_schema().get("properties", {})
        if options:
            yield from keys(list(options.items()), set())
    yield from pilots()


def pilots() -> Iterator[str]:
    yield from (
        "## Pilot studies",
        "",
        "For the table `[pilot.options]` of a recipe; see [recipes](../recipes.md#pilot).",
        "",
    )
    studies = [entry for entry in registry.PILOTS.status() if isinstance(entry, registry.Working) and entry.found.own]
    for entry in studies:
        options = TypeAdapter(commented(entry.plugin)).json_schema().get("properties", {})
        yield from (f"### {entry.found.name}", "", entry.plugin.summary(), "", *keys(list(options.items()), set()))


def commented(plugin: type) -> type:
    """The plugin's class, whose fields pydantic describes by the docstrings under them."""
    namespace = {"__pydantic_config__": ConfigDict(use_attribute_docstrings=True), "__module__": plugin.__module__}
    return type(plugin.__name__, (plugin,), namespace)


# Layers ---------------------------------------------------------------------------------------------------------------


def layers() -> Iterator[str]:
    yield from (
        "# Layers that are known",
        "",
        "torch's own layers, by kind.",
        "",
        "* *Captured*: the operators of `torch.export` that become one. Without any, the layer is captured as the",
        "  functions that it is made of.",
        "* *Read*: the ONNX operators that become one, by their attributes. Those that move values about (`Flatten`,",
        "  `Reshape`, `Resize`, …) are read apart, since where the batch is must be followed there.",
        "* *Channels*: what it does to them, which decides what [magnitude-prune](../plugins/magnitude-prune.md) can",
        "  take away.",
        "",
        "What a kind is, and how to add one: [add a kind of layer](../layer_kinds.md).",
        "",
    )
    rows = [
        (
            listed(of.__name__ for of in kind.classes),
            listed(operator.removeprefix("aten.") for operator in kind.captured),
            "yes" if kind.emit else "no",
            listed(kind.read),
            "not known" if kind.treatment is None else kind.treatment.words,
        )
        for kind in KINDS
    ]
    yield from table("layer, captured, written to ONNX, read, channels", rows)


def listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


# Errors ---------------------------------------------------------------------------------------------------------------


def exceptions() -> Iterator[str]:
    yield from (
        "# Errors",
        "",
        "Every error that the package raises on purpose derives from `compressor.errors.CompressorError`. On the "
        "command line an error is one line on standard error: what is wrong, where, and what to do. `InputError` and "
        "`ExportError` end it with code 2, the others with 70; `COMPRESSOR_TRACEBACK=1` shows the traceback.",
        "",
    )
    yield from table("error, is a, meaning", [error_row(error) for error in tree(errors.CompressorError)])


def tree(error: type) -> Iterator[type]:
    yield error
    own = [found for found in vars(errors).values() if inspect.isclass(found) and found.__base__ is error]
    for found in own:
        yield from tree(found)


def error_row(error: type) -> tuple[str, str, str]:
    return (f"`{error.__name__}`", f"`{error.__mro__[1].__name__}`", inspect.getdoc(error) or "")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
