"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compressor.errors import InputError

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A torch.export archive, an ONNX file, package.module:factory, or a name from 'compressor models'.",
        show_default=False,
    ),
]
RunDir = Annotated[Path, typer.Argument(metavar="DIR", help="A run folder.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", metavar="FILE", help="Weights for a factory or a zoo name.", show_default=False),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Admit pickled modules and TorchScript: they can run code when loaded.")
]
Input = Annotated[
    str,
    typer.Option(
        "--input", metavar="CxHxW", help="Shape of one sample, where the model does not say it.", show_default=False
    ),
]


Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Overrides a key of the recipe: search.trials=5. Repeatable."),
]


def parse_shape(text: str) -> tuple[int, ...] | None:
    """``3x32x32`` as sizes; None for no text. Raises ``InputError``."""
    return sizes(text, "--input ") if text else None


def sizes(text: str, option: str) -> tuple[int, ...]:
    """Sizes written as ``3x32x32``, ``3×32×32`` or ``3,32,32``. Raises ``InputError`` that begins with ``option``."""
    parts = text.lower().replace("×", "x").replace(",", "x").split("x")
    if not all(part.strip().isdecimal() and len(part) < 10 and int(part) > 0 for part in parts):
        raise InputError(f"{option}{text[:60]}: expected sizes such as 3x32x32")
    return tuple(int(part) for part in parts)


def _recipes(incomplete: str) -> list[str]:
    from compressor.recipe.find import bundled_recipes

    return [name for name in bundled_recipes() if name.startswith(incomplete)]


def _plugins(incomplete: str) -> list[str]:
    from compressor.registry import discover

    return [found.name for found in discover() if found.name.startswith(incomplete)]


RECIPE_OPTION = typer.Option(
    "--recipe", "-r", metavar="R", help="A recipe file, or a bundled one by name.", show_default=False,
    autocompletion=_recipes,
)  # fmt: skip
RECIPE_ARGUMENT = typer.Argument(
    metavar="R", help="A recipe file, or a bundled one by name.", show_default=False, autocompletion=_recipes
)
PLUGIN_ARGUMENT = typer.Argument(metavar="NAME", help="A plugin.", show_default=False, autocompletion=_plugins)
