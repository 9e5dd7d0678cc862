"""``compressor recipe``: the recipes that come with the package, one as it would run, and the schema for editors."""

from __future__ import annotations

from typing import Annotated

import typer

from compressor.cli.draw import draw
from compressor.cli.options import RECIPE_ARGUMENT, JsonFlag, Set
from compressor.cli.output import output
from compressor.report.table import table

app = typer.Typer(help="List the bundled recipes, show one as run, or print the schema.", no_args_is_help=False)


@app.command("list")
def list_recipes(as_json: JsonFlag = False) -> None:
    """List the recipes that come with the package, and what each does."""
    with output(as_json) as out:
        from compressor.recipe.find import about, bundled_recipes

        recipes = bundled_recipes()
        if as_json:
            out.document([{"name": name, "file": str(file), "about": about(file)} for name, file in recipes.items()])
        else:
            draw(out.results, table("name, what it does", [(name, about(file)) for name, file in recipes.items()]))
            out.line("compressor recipe show NAME shows one whole; the file itself begins with its commands:")
            out.line(str(next(iter(recipes.values())).parent))


@app.command("show")
def show(recipe: Annotated[str, RECIPE_ARGUMENT], overrides: Set = None, as_json: JsonFlag = False) -> None:
    """Show a recipe as it would run, with every default filled in."""
    with output(as_json) as out:
        from compressor.recipe.read import read_recipe, recipe_data
        from compressor.recipe.toml import to_toml

        data = recipe_data(read_recipe(recipe, overrides or ()))
        if as_json:
            out.document(data)
        else:
            typer.echo(to_toml(data), nl=False)


@app.command("schema")
def schema() -> None:
    """Print the JSON schema of a recipe, for editors."""
    from compressor.recipe.schema import schema_text

    typer.echo(schema_text(), nl=False)
