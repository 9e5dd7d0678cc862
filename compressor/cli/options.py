"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compressor.errors import InputError

if TYPE_CHECKING:
    from compressor.graph.given import Given

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A torch.export archive, an ONNX file, package.module:factory, or a name from 'compressor models'.",
        show_default=False,
    ),
]
RunDir = Annotated[Path, typer.Argument(metavar="DIR", help="A run folder.", show_default=False)]
TrackerName = Annotated[
    str,
    typer.Option(
        "--tracker",
        metavar="NAME",
        help="Also tell an experiment tracker of every trial: mlflow, or package.module:Class.",
        show_default=False,
    ),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", metavar="FILE", help="Weights for a factory or a zoo name.", show_default=False),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Admit pickled modules and TorchScript: they can run code when loaded.")
]
Input = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="[NAME=]CxHxW[:TYPE]",
        help="Shape of one sample, where the model does not say it. Once for each input: image=3x64x64, extra=4:int64.",
        show_default=False,
    ),
]


Budget = Annotated[
    str,
    typer.Option(
        "--budget",
        metavar="TIME",
        help="How long it may take in all, the final measurement included: 90s, 30m, 1h30m.",
        show_default=False,
    ),
]
DataOption = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="D",
        help="A folder, a file, a named set or package.module:function, in place of the recipe's.",
        show_default=False,
    ),
]
TaskOption = Annotated[
    str,
    typer.Option(
        "--task",
        metavar="T",
        help="classification, segmentation, regression, agreement (no labels)…, or package.module:name of your own.",
        show_default=False,
    ),
]
ExecutorName = Annotated[
    str,
    typer.Option(
        "--executor",
        metavar="E",
        help="Where trials run: local, ray (a Ray cluster here), or ray://HOST:PORT.",
        show_default=False,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Overrides a key of the recipe: search.trials=5. Repeatable."),
]


def sizes(text: str, option: str) -> tuple[int, ...]:
    """Sizes written as ``3x32x32``, ``3×32×32`` or ``3,32,32``. Raises ``InputError`` that begins with ``option``."""
    parts = text.lower().replace("×", "x").replace(",", "x").split("x")
    if not all(part.strip().isdecimal() and len(part) < 10 and int(part) > 0 for part in parts):
        raise InputError(f"{option}{text[:60]}: expected sizes such as 3x32x32")
    return tuple(int(part) for part in parts)


def parse_inputs(texts: Sequence[str] | None) -> tuple[Given, ...] | None:
    """Every ``--input``: ``3x32x32`` or ``NAME=4:int64``; None where there is none. Raises ``InputError``."""
    from compressor.graph.given import parse_input

    given = tuple(map(parse_input, texts or ()))
    if len(given) > 1 and len({one.name for one in given if one.name}) < sum(bool(one.name) for one in given):
        raise InputError("--input: one name is given twice")
    return given or None


def _recipes(incomplete: str) -> list[str]:
    from compressor.recipe.find import bundled_recipes

    return [name for name in bundled_recipes() if name.startswith(incomplete)]


def _plugins(incomplete: str) -> list[str]:
    from compressor.registry import discover

    return [found.name for found in discover() if found.name.startswith(incomplete)]


RECIPE_OPTION = typer.Option(
    "--recipe", "-r", metavar="R", help="A recipe file, or a bundled one by name; auto chooses.", show_default=False,
    autocompletion=_recipes,
)  # fmt: skip
RECIPE_ARGUMENT = typer.Argument(
    metavar="R", help="A recipe file, or a bundled one by name.", show_default=False, autocompletion=_recipes
)
PLUGIN_ARGUMENT = typer.Argument(metavar="NAME", help="A plugin.", show_default=False, autocompletion=_plugins)
