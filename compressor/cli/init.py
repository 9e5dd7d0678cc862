"""``compressor init``: the recipe that ``auto`` would run, written out with comments, to be edited."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compressor.api.durations import seconds_of
from compressor.cli.options import Budget, DataOption, Input, Model, Set, TaskOption, Trust, Weights, parse_inputs
from compressor.cli.output import output
from compressor.errors import InputError


def init(
    model: Model,
    data: DataOption = "",
    task: TaskOption = "",
    out_file: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Where the recipe goes; default: recipe.toml.", show_default=False),
    ] = None,
    budget: Budget = "",
    weights: Weights = None,
    overrides: Set = None,
    inputs: Input = None,
    trust: Trust = False,
) -> None:
    """Write a recipe for this model and these data, with comments, to be edited and run with optimize --recipe."""
    with output(False) as out:
        from compressor.api.prepare import AUTO, set_up
        from compressor.files import write_atomic

        file = out_file or Path("recipe.toml")
        if file.exists():
            raise InputError(f"--out {file}: exists already; choose another name")
        prepared = set_up(
            model,
            AUTO,
            data=data or None,
            task=task,
            budget=seconds_of(budget, "--budget"),
            overrides=overrides or (),
            weights=weights,
            trust=trust,
            inputs=parse_inputs(inputs),
        )
        for note in prepared.notes:
            out.note(f"note: {note}")
        write_atomic(file, prepared.text)
        out.line(f"{file}: edit it, then run: compressor optimize {model} --recipe {file}")
