"""``compressor plugins``: what is installed, what of it works, and whether one keeps its contract."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compressor.cli.draw import draw
from compressor.cli.failures import NO
from compressor.cli.options import PLUGIN_ARGUMENT, JsonFlag
from compressor.cli.output import CommandOutput, output
from compressor.errors import CompressorError, InputError, NoAnswer
from compressor.report import text
from compressor.report.table import table

if TYPE_CHECKING:
    from compressor.registry import Found

app = typer.Typer(help="List the installed plugins, check one, or begin a new one.", invoke_without_command=True)


@app.callback()
def plugins(context: typer.Context, as_json: JsonFlag = False) -> None:
    """List the installed plugins, check one, or begin a new one."""
    if context.invoked_subcommand is None:
        with output(as_json) as out:
            _list(out)


def _list(out: CommandOutput) -> None:
    from compressor.registry import PILOTS, discover

    found = discover()
    entries = [_settled(*pair) for pair in zip(found, _examined(found), strict=True)]
    if out.as_json:
        out.document(entries)
        return
    rows = [
        (entry["name"], entry["promise"], f"{entry['distribution']} {entry['version']}", entry["summary"])
        for entry in entries
        if entry["working"]
    ]
    draw(out.results, table("plugin, promise, from, what it does", rows))
    for plugin, entry in zip(found, entries, strict=True):
        if not entry["working"]:
            out.line(text.clean(f"broken: {plugin}: {entry['reason']}"))
    studies = ", ".join(study.name for study in PILOTS.discover())
    if studies:
        out.line(text.clean(f"pilot studies: {studies}"))


def _examined(found: Sequence[Found]) -> Iterator[dict[str, Any] | CompressorError]:
    """What each plugin says of itself; it is imported in a process of its own."""
    from compressor.apart import each_apart
    from compressor.engine.survey import PLUGIN_SECONDS

    return each_apart(found, _as_data, seconds=PLUGIN_SECONDS)


def _as_data(found: Found) -> dict[str, Any]:
    from compressor.options import options_of
    from compressor.registry import class_of

    plugin = class_of(found)
    options = [{"name": o.name, "type": o.type, "default": _plain(o.default)} for o in options_of(plugin)]
    return {"working": True, "summary": plugin.summary(), "promise": plugin.promise.value, "options": options}


def _settled(found: Found, answer: dict[str, Any] | CompressorError) -> dict[str, Any]:
    data = {
        "name": found.name,
        "distribution": found.distribution,
        "version": found.version,
        "value": found.value,
    }
    match answer:
        case NoAnswer():
            return {**data, "working": False, "reason": f"importing {found.value} failed: {answer}"}
        case CompressorError():
            return {**data, "working": False, "reason": str(answer)}
    return {**data, **answer}


def _plain(value: Any) -> Any:
    """Options of a plugin as JSON has them."""
    return json.loads(json.dumps(value, default=str))


@app.command("check")
def check(name: Annotated[str, PLUGIN_ARGUMENT], as_json: JsonFlag = False) -> None:
    """Run the conformance kit on a plugin; exit code 1 when it finds something."""
    with output(as_json) as out:
        from compressor.testing import check_apart

        out.note(f"checking {name} on the kit's networks: this takes some ten seconds")
        findings = check_apart(name)
        if as_json:
            out.document({"plugin": name, "findings": [asdict(finding) for finding in findings]})
        else:
            for finding in findings:
                out.paragraph(str(finding))
            out.line(f"{name}: {text.plural(len(findings), 'finding')}" if findings else f"{name}: keeps its contract")
    if findings:
        raise typer.Exit(NO)


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What recipes will call it: low-rank.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The folder to write; default compressor-NAME.", show_default=False),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a package with a plugin that works and a test that it passes, to be changed into what you want."""
    with output(as_json) as shown:
        from compressor.registry import discover
        from compressor.scaffold import names_of, write_plugin

        names = names_of(name)
        if any(found.name == name for found in discover()):
            raise InputError(f"a plugin called {name!r} is installed already; choose another name")
        folder = out or Path(names.package)
        files = write_plugin(names, folder)
        if as_json:
            shown.document({"name": name, "folder": str(folder), "files": [str(file) for file in files]})
            return
        for file in files:
            shown.line(text.clean(str(file)))
        shown.line()
        shown.line(text.clean(f"next: pip install --editable {folder}"))
        shown.line(text.clean(f"      compressor plugins check {name}"))
