"""The recipe as a JSON schema, for editors and for error messages."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any

from compressor.recipe.model import RECIPE


def recipe_schema() -> dict[str, Any]:
    """JSON schema (2020-12) of a recipe file."""
    schema = RECIPE.json_schema()
    seeds = schema["$defs"]["SearchSpec"]["properties"]["seeds"]
    seeds["items"] = {"type": "object"}  # nested tables are flattened when read
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "compressor recipe"}


def schema_text() -> str:
    """The schema as the file ``docs/recipe.schema.json`` holds it."""
    return json.dumps(recipe_schema(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


@functools.cache
def _schema() -> dict[str, Any]:
    return recipe_schema()


def keys_at(location: Sequence[str | int]) -> list[str]:
    """The keys a table may have; empty for a table of free keys."""
    return list(_node_at(location).get("properties", {}))


def _node_at(location: Sequence[str | int]) -> dict[str, Any]:
    node = _schema()
    for step in location:
        node = node.get("items", {}) if isinstance(step, int) else node.get("properties", {}).get(step, {})
        node = _resolve(node)
    return node


def _resolve(node: dict[str, Any]) -> dict[str, Any]:
    for option in node.get("anyOf", []):
        if "$ref" in option:
            return _resolve(option)
    if "$ref" in node:
        target: dict[str, Any] = _schema()["$defs"][node["$ref"].rpartition("/")[2]]
        return target
    return node
