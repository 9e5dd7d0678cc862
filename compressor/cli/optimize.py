"""``compressor optimize``: from a model and a recipe to a smaller, faster, verified ONNX file, with a verdict."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compressor.cli.draw import draw
from compressor.cli.options import RECIPE_OPTION, Input, Json, Model, Set, Trust, Weights, parse_shape
from compressor.cli.output import Output, output
from compressor.report import text
from compressor.report.table import table

if TYPE_CHECKING:
    from compressor.cli.prepare import Prepared
    from compressor.engine.space import SearchSpace


def optimize(
    model: Model,
    recipe: Annotated[str, RECIPE_OPTION],
    weights: Weights = None,
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The run folder; default: runs/MODEL-RECIPE.", show_default=False),
    ] = None,
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="Trials to finish.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seeds everything.", show_default=False)] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, help="Trials that run at the same time.", show_default=False)
    ] = None,
    overrides: Set = None,
    input_shape: Input = "",
    trust: Trust = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read everything, show the search space and the recipe, start nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Search for a smaller, faster network, and prove it.

    Exit codes: 0 it helped; 1 it ran but did not help; 2 the input is wrong; 130 interrupted, go on with resume.
    """
    code = 0
    with output(as_json) as out:
        from compressor.cli.prepare import prepare
        from compressor.cli.run import carry_out
        from compressor.search.run_folder import RunFolder

        folder = out_folder or free_folder(model, recipe)
        prepared = prepare(
            model,
            recipe,
            overrides=[*(overrides or ()), *_as_overrides(trials=trials, seed=seed, jobs=jobs)],
            weights=weights,
            trust=trust,
            input_shape=parse_shape(input_shape),
        )
        if dry_run:
            _show_space(prepared, out)
        else:
            code = carry_out(RunFolder.create(folder, prepared.recipe, prepared.network), out)
    if code:
        raise typer.Exit(code)


def free_folder(model: str, recipe: str, under: Path = Path("runs")) -> Path:
    """``runs/model-recipe``, with the first number behind it that makes it a new folder."""
    parts = [re.sub(r"[^\w.-]+", "-", Path(part).stem).strip("-.") for part in (model, recipe)]
    name = "-".join(part for part in parts if part) or "run"
    candidates = (under / (name if number == 1 else f"{name}-{number}") for number in range(1, 1_000_000))
    return next(folder for folder in candidates if not folder.exists())


def _as_overrides(**given: int | None) -> list[str]:
    return [f"search.{key}={value}" for key, value in given.items() if value is not None]


def _show_space(prepared: Prepared, out: Output) -> None:
    from compressor.recipe.read import as_data
    from compressor.recipe.toml import to_toml

    space, recipe = prepared.space, as_data(prepared.recipe)
    if out.as_json:
        out.document({"parameters": _parameters(space), "notes": space.notes, "recipe": recipe})
        return
    rows = [(str(entry["name"]), str(entry["values"]), entry["when"] or "") for entry in _parameters(space)]
    draw(out.results, table("parameter, values, when", rows, title=text.plural(len(rows), "search parameter")))
    for note in space.notes:
        out.paragraph(f"note: {note}")
    out.line("\n# the recipe as run")
    out.line(to_toml(recipe).rstrip())


def _parameters(space: SearchSpace) -> list[dict[str, str | None]]:
    from compressor.knobs import describe

    return [{"name": p.name, "values": describe(p.knob), "when": p.when} for p in space.parameters]
