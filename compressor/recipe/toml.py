"""Plain data as TOML text (https://toml.io/en/v1.0.0); ``tomllib.loads(to_toml(data)) == data``.

Python reads TOML but does not write it. Values are bool, int, float, str, lists or tuples of values, and mappings.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(data: Mapping[str, Any]) -> str:
    """A TOML document. Raises ``TypeError`` for a value TOML has no form for, None among them."""
    return "\n".join(_table(data, ())).strip("\n") + "\n"


def to_value(value: Any) -> str:
    """One value in one line, tables inline."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _number(value)
        case str():
            return _text(value)
        case list() | tuple():
            return "[" + ", ".join(to_value(item) for item in value) + "]"
        case Mapping():
            inner = ", ".join(f"{_key(key)} = {to_value(item)}" for key, item in value.items())
            return "{ " + inner + " }" if inner else "{}"
        case _:
            raise TypeError(f"TOML has no form for {type(value).__name__}")


def _table(data: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Lines of a table's body: plain values first, since whatever follows a header belongs to that header."""
    nested = {key: value for key, value in data.items() if isinstance(value, Mapping) or _is_table_array(value)}
    for key, value in data.items():
        if key not in nested:
            yield f"{_key(key)} = {to_value(value)}"
    for key, value in nested.items():
        name = ".".join(map(_key, (*path, key)))
        for entry in [value] if isinstance(value, Mapping) else value:
            yield ""
            yield f"[{name}]" if isinstance(value, Mapping) else f"[[{name}]]"
            yield from _table(entry, (*path, key))


def _is_table_array(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _text(text: str) -> str:
    """A basic string: JSON's escapes are TOML's, but for DEL, which JSON leaves as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
