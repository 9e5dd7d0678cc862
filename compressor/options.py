"""A frozen dataclass from plain options, as recipes hold them: strict, with one line about the first thing wrong."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from compressor.errors import did_you_mean

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Option:
    """One field of such a class, as a recipe may set it."""

    name: str
    type: str
    default: Any


def options_of(kind: type[Any]) -> tuple[Option, ...]:
    """The options of a dataclass: its fields, in order, but for those that it fills in itself."""
    return tuple(
        Option(field.name, _type_name(field.type), default_of(field))
        for field in dataclasses.fields(kind)
        if field.init
    )


def built(kind: type[T], options: Mapping[str, Any]) -> T:
    """An instance of ``kind``: no text for a number, no unknown names; lists stand for tuples and text for enumeration
    members, as in TOML.

    Raises ``ValueError`` with the reason; what the class's own ``__post_init__`` raises passes.
    """
    known = {option.name for option in options_of(kind)}
    for key in options:
        if key not in known:
            hint = did_you_mean(str(key), known) if known else "; it has no options"
            raise ValueError(f"unknown option {key!r}{hint}")
    try:
        text = json.dumps(dict(options))
    except (TypeError, ValueError) as error:
        raise ValueError(f"options must be plain data: {error}") from error
    try:
        found: T = _validator(cast(Any, kind)).validate_json(text, strict=True)
    except ValidationError as error:
        raise ValueError(_first_problem(error)) from error
    return found


@functools.lru_cache(maxsize=256)
def _validator(kind: Any) -> TypeAdapter[Any]:
    """Built once: it costs a thousand times what using it does."""
    return TypeAdapter(kind)


def default_of(field: dataclasses.Field[Any]) -> Any:
    """What a field is where nobody says; ``dataclasses.MISSING`` where somebody must."""
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default


def _type_name(annotation: object) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if not where:
        return message
    return f"option {where!r} cannot be {first['input']!r}: {message[:1].lower()}{message[1:]}"
