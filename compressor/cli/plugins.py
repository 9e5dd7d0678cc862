"""``compressor plugins``: what is installed, what of it works, and whether one keeps its contract."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compressor.cli.draw import draw
from compressor.cli.failures import NO
from compressor.cli.options import PLUGIN_ARGUMENT, Json
from compressor.cli.output import Output, output
from compressor.report import text
from compressor.report.table import table

if TYPE_CHECKING:
    from compressor.registry import Broken, Working

app = typer.Typer(help="List the installed plugins, or check one.", invoke_without_command=True)


@app.callback()
def plugins(context: typer.Context, as_json: Json = False) -> None:
    """List the installed plugins, or check one."""
    if context.invoked_subcommand is None:
        with output(as_json) as out:
            _list(out)


def _list(out: Output) -> None:
    from compressor.registry import Working, status

    found = status()
    if out.as_json:
        out.document([_as_data(entry) for entry in found])
        return
    working = [entry for entry in found if isinstance(entry, Working)]
    rows = [
        (w.found.name, w.plugin.promise.value, f"{w.found.distribution} {w.found.version}", w.plugin.summary())
        for w in working
    ]
    draw(out.results, table("plugin, promise, from, what it does", rows))
    for entry in found:
        if not isinstance(entry, Working):
            out.line(text.clean(f"broken: {entry.found}: {entry.reason}"))


def _as_data(entry: Working | Broken) -> dict[str, Any]:
    from compressor.registry import Working, options_of

    found = entry.found
    data: dict[str, Any] = {
        "name": found.name,
        "distribution": found.distribution,
        "version": found.version,
        "value": found.value,
    }
    if not isinstance(entry, Working):
        return {**data, "working": False, "reason": entry.reason}
    options = [{"name": o.name, "type": o.type, "default": _plain(o.default)} for o in options_of(entry.plugin)]
    promise, summary = entry.plugin.promise.value, entry.plugin.summary()
    return {**data, "working": True, "summary": summary, "promise": promise, "options": options}


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str | list | tuple | dict) or value is None else str(value)


@app.command("check")
def check(name: Annotated[str, PLUGIN_ARGUMENT], as_json: Json = False) -> None:
    """Run the conformance kit on a plugin; exit code 1 when it finds something."""
    with output(as_json) as out:
        from compressor.registry import make
        from compressor.testing import check_plugin

        plugin = make(name)
        out.note(f"checking {name} on the kit's networks: this takes some ten seconds")
        findings = check_plugin(plugin)
        if as_json:
            out.document({"plugin": name, "findings": [asdict(finding) for finding in findings]})
        else:
            for finding in findings:
                out.line(text.clean(str(finding)))
            out.line(f"{name}: {text.plural(len(findings), 'finding')}" if findings else f"{name}: keeps its contract")
    if findings:
        raise typer.Exit(NO)
