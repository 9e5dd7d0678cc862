"""Validation errors as one precise line: table, key, what was expected, what was found, the nearest known name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from compressor.errors import did_you_mean
from compressor.recipe.overrides import Location
from compressor.recipe.schema import keys_at
from compressor.recipe.toml import to_value

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a table",
    "dataclass_type": "a table",
    "mapping_type": "a table",
}
_SHOWN = 60


def first_problem(errors: Sequence[ErrorDetails], raw: Mapping[str, Any]) -> tuple[Location, str]:
    """Where the first thing wrong is, and the line about it; alternatives of one value are told together."""
    unknown = [error for error in errors if error["type"] == "unexpected_keyword_argument"]
    first = (unknown or list(errors))[0]
    location = _within(first["loc"], raw)
    if first["type"] == "unexpected_keyword_argument":
        *table, key = location
        return location, f"{_table(table, raw)}unknown key {str(key)!r}{did_you_mean(str(key), keys_at(table))}"
    if first["type"] in ("missing", "missing_argument"):
        return location, f"{_table(location, raw)}key {str(first['loc'][-1])!r} is missing"
    same = [error for error in errors if _within(error["loc"], raw) == location]
    return location, f"{place(location, raw)}{_complaint(same)}"


def place(location: Sequence[str | int], raw: Mapping[str, Any]) -> str:
    """``[training] lr: ``, or ``[[phases.plugins]] (in phases 'a', plugins 'b') policy: ``."""
    if not location or (isinstance(location[-1], int) and isinstance(_value(location, raw), Mapping)):
        return _table(location, raw)
    depth = max((i for i, step in enumerate(location) if isinstance(step, str)), default=0)
    key = ".".join(map(str, location[depth:]))
    return f"{_table(location[:depth], raw).removesuffix(': ')} {key}: ".lstrip()


def _value(location: Sequence[str | int], raw: Mapping[str, Any]) -> Any:
    node: Any = raw
    for step in location:
        node = node[step]
    return node


def _table(location: Sequence[str | int], raw: Mapping[str, Any]) -> str:
    names = ".".join(step for step in location if isinstance(step, str))
    if not names:
        return ""
    node: Any = raw
    entries: list[str] = []
    for before, step in zip(("", *location), location, strict=False):
        node = node[step] if isinstance(node, Mapping) or isinstance(step, int) else {}
        if isinstance(step, int):
            label = node.get("name", step) if isinstance(node, Mapping) else step
            entries.append(f"{before} {label!r}")
    header = f"[[{names}]]" if isinstance(location[-1], int) else f"[{names}]"
    return header + (f" (in {', '.join(entries)})" if entries else "") + ": "


def _within(location: Sequence[str | int], raw: Mapping[str, Any]) -> Location:
    """The part of a location that leads through the data; the rest names alternatives of a type."""
    node: Any = raw
    path: list[str | int] = []
    for step in location:
        if isinstance(node, Mapping) and step in node:
            node = node[str(step)]
        elif isinstance(node, list) and isinstance(step, int) and step < len(node):
            node = node[step]
        else:
            break
        path.append(step)
    return tuple(path)


def _complaint(errors: Sequence[ErrorDetails]) -> str:
    first = errors[0]
    found = first["input"]
    if first["type"] == "literal_error":
        options = str(first["ctx"]["expected"]).replace(" or ", ", ").split(", ")
        hint = did_you_mean(found, [option.strip("'") for option in options]) if isinstance(found, str) else ""
        return f"expected one of {', '.join(options)}; found {_brief(found)}{hint.partition(' (known')[0]}"
    expected = [_EXPECTED[error["type"]] for error in errors if error["type"] in _EXPECTED]
    if len(expected) < len(errors):
        return f"{first['msg']}; found {_brief(found)}"
    return f"expected {' or '.join(dict.fromkeys(expected))}; found {_brief(found)}"


def _brief(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a table"
    text = to_value(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
