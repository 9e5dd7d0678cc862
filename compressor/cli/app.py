"""The commands: ``compressor COMMAND …``. They import what they need when they run, so ``--help`` is quick."""

from __future__ import annotations

from typing import Annotated

import typer

from compressor import __version__
from compressor.cli import compare, explain, init, inspect, models, optimize, plugins, recipe, report, resume, train
from compressor.cli.bench.command import bench
from compressor.cli.failures import WRONG_INPUT

app = typer.Typer(
    name="compressor",
    help="Makes trained PyTorch CNNs smaller and faster, and proves it.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    invoke_without_command=True,
)
app.command("optimize")(optimize.optimize)
app.command("init")(init.init)
app.command("resume")(resume.resume)
app.command("report")(report.report)
app.command("explain")(explain.explain)
app.command("compare")(compare.compare)
app.command("inspect")(inspect.inspect)
app.command("bench")(bench)
app.command("train")(train.train)
app.command("models")(models.models)
app.add_typer(plugins.app, name="plugins")
app.add_typer(recipe.app, name="recipe")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"compressor {__version__}")
        raise typer.Exit()


@app.callback()
def _start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(WRONG_INPUT)
