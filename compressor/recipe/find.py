"""Recipes by path, or by the name of one that comes with the package."""

from __future__ import annotations

import re
from pathlib import Path

import compressor
from compressor.errors import RecipeError, did_you_mean


def bundled_recipes() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    package = Path(compressor.__file__).parent
    for folder in (package / "_recipes", package.parent / "recipes"):
        if folder.is_dir():
            return {file.stem: file for file in sorted(folder.glob("*.toml"))}
    return {}


def about(recipe: Path) -> str:
    """What a recipe says of itself: the first sentence of the comment at its head."""
    words: list[str] = []
    for line in recipe.read_text(encoding="utf-8").splitlines():
        text = line.removeprefix("#").strip()
        if not line.startswith("#") or (words and not text):
            break
        if text and not text.startswith(":schema"):
            words.append(text)
    return re.split(r"(?<=[.])\s", " ".join(words), maxsplit=1)[0].rstrip(":")


def find_recipe(recipe: str | Path) -> Path:
    """The file ``recipe`` means: a path, or a bundled recipe's name. Raises ``RecipeError``."""
    path = Path(recipe)
    if path.is_file():
        return path
    if path.exists():
        raise RecipeError(f"{recipe}: is a {'folder' if path.is_dir() else 'pipe or a device'}, not a recipe")
    if str(recipe) == path.stem:
        bundled = bundled_recipes()
        if path.stem in bundled:
            return bundled[path.stem]
        raise RecipeError(f"there is no file and no bundled recipe {str(recipe)!r}{did_you_mean(path.stem, bundled)}")
    raise RecipeError(f"{recipe}: there is no such file")
