from __future__ import annotations

import tomllib
from pathlib import Path

import jsonschema
import pytest

from compressor.recipe.find import bundled_recipes
from compressor.recipe.read import read_recipe, recipe_data
from compressor.recipe.schema import keys_at, recipe_schema, schema_text

ROOT = Path(__file__).parent.parent.parent
REFRESH = "refresh it: python -c 'from compressor.recipe.schema import schema_text as s; print(s(), end=\"\")'"


def test_the_schema_file_is_up_to_date() -> None:
    assert (ROOT / "docs" / "recipe.schema.json").read_text(encoding="utf-8") == schema_text(), REFRESH


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(recipe_schema())


@pytest.mark.parametrize("name", sorted(bundled_recipes()))
def test_recipes_fit_it_and_point_to_it(name: str) -> None:
    text = bundled_recipes()[name].read_text()
    jsonschema.validate(tomllib.loads(text), recipe_schema())
    assert text.startswith("#:schema ../docs/recipe.schema.json\n")


def test_it_catches_a_typing_error() -> None:
    data = tomllib.loads(bundled_recipes()["quickstart"].read_text())
    data["training"]["epoch"] = 3
    with pytest.raises(jsonschema.ValidationError, match="epoch"):
        jsonschema.validate(data, recipe_schema())


def test_every_key_of_a_recipe_is_in_it() -> None:
    data = recipe_data(read_recipe("quickstart"))
    assert set(data) <= set(keys_at(()))
    assert set(data["phases"][0]["plugins"][0]) <= set(keys_at(("phases", 0, "plugins", 0)))
    assert keys_at(("phases", 0, "training", "augmentation")) == keys_at(("training", "augmentation"))
