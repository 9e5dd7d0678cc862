"""``compressor optimize``: from a model and a recipe to a smaller, faster, verified ONNX file, with a verdict."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from compressor.api.durations import seconds_of
from compressor.cli.options import (
    RECIPE_OPTION,
    Budget,
    DataOption,
    ExecutorName,
    Input,
    JsonFlag,
    Model,
    Set,
    TaskOption,
    TrackerName,
    Trust,
    Weights,
    parse_inputs,
)
from compressor.cli.output import output


def optimize(
    model: Model,
    recipe: Annotated[str, RECIPE_OPTION] = "auto",
    data: DataOption = "",
    task: TaskOption = "",
    weights: Weights = None,
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The run folder; default: runs/MODEL-RECIPE.", show_default=False),
    ] = None,
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="Trials to finish.", show_default=False)] = None,
    budget: Budget = "",
    seed: Annotated[int | None, typer.Option("--seed", help="Seeds everything.", show_default=False)] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, help="Trials that run at the same time.", show_default=False)
    ] = None,
    executor: ExecutorName = "",
    overrides: Set = None,
    inputs: Input = None,
    trust: Trust = False,
    fold: Annotated[
        bool, typer.Option("--fold-normalisation", help="Put the normalisation into the files: they take pixels.")
    ] = False,
    untrained: Annotated[
        bool, typer.Option("--allow-untrained", help="Begin although the network scores no better than by chance.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read everything, show what the run would start from, start nothing.")
    ] = False,
    tracker: TrackerName = "",
    as_json: JsonFlag = False,
) -> None:
    """Search for a smaller, faster network, and prove it.

    Exit codes: 0 it helped; 1 it ran but did not help; 2 the input is wrong; 130 interrupted, go on with resume.
    """
    code, began = 0, time.monotonic()
    with output(as_json) as out:
        from compressor.api.folders import free_folder
        from compressor.api.prepare import check_budget, set_up
        from compressor.cli.preview import preview
        from compressor.cli.run import carry_out
        from compressor.search.run_folder import RunFolder
        from compressor.track.tracker import tracker_named

        tracking = tracker_named(tracker) if tracker else None
        folder = out_folder or free_folder(model, recipe)
        prepared = set_up(
            model,
            recipe,
            data=data or None,
            task=task,
            budget=seconds_of(budget, "--budget"),
            trials=trials,
            overrides=[*(overrides or ()), *_as_overrides(seed, jobs, executor, untrained, fold)],
            weights=weights,
            trust=trust,
            inputs=parse_inputs(inputs),
        )
        for note in prepared.notes:
            out.note(f"note: {note}")
        if dry_run:
            preview(prepared, out)
        else:
            check_budget(prepared)
            run = RunFolder.create(folder, prepared.recipe, prepared.network)
            del prepared  # the run reads everything anew from its folder: nothing is held twice
            code = carry_out(run, out, since=began, tracker=tracking)
    if code:
        raise typer.Exit(code)


def _as_overrides(seed: int | None, jobs: int | None, executor: str, untrained: bool, fold: bool) -> list[str]:
    numbers = {"seed": seed, "jobs": jobs}
    found = [f"search.{key}={value}" for key, value in numbers.items() if value is not None]
    found += [f"search.executor={executor}"] if executor else []
    found += ["search.allow_untrained=true"] if untrained else []
    return [*found, "export.fold_normalisation=true"] if fold else found
