"""How a network's outputs are nested, as plain data: told from what its owner's code returns, and built again.

NamedTuples and dataclasses are records. Their class stays with its owner; what is built again is a named tuple with the
same fields, which reads as either does (``answer.boxes``, and by place as a tuple).
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import keyword
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from torch import Tensor

from compressor.errors import CaptureError, InputError

NestKind = Literal["tensor", "constant", "tuple", "list", "dict", "record"]
Constant = None | bool | int | float | str
KINDS: Final[Mapping[str, NestKind]] = {
    "tensor": "tensor", "constant": "constant", "tuple": "tuple", "list": "list", "dict": "dict", "record": "record",
}  # fmt: skip
MAX_DEPTH: Final = 20


@dataclass(frozen=True)
class Nesting:
    """A tensor, a constant that comes with the tensors, or a container with parts."""

    kind: NestKind = "tensor"
    parts: tuple[Nesting, ...] = ()
    keys: tuple[str | int, ...] = ()
    """Keys of a dict, fields of a record."""
    constant: Constant = None

    @functools.cached_property
    def count(self) -> int:
        """Number of tensors in it."""
        return 1 if self.kind == "tensor" else sum(part.count for part in self.parts)

    @functools.cached_property
    def has_records(self) -> bool:
        return self.kind == "record" or any(part.has_records for part in self.parts)

    def names(self, above: str = "") -> Iterator[str]:
        """A name for every tensor: the keys and fields that lead to it (``head.boxes``), or ``output``; some recur."""
        if self.kind == "tensor":
            yield above or "output"
        for key, part in zip(self.keys or [""] * len(self.parts), self.parts, strict=True):
            yield from part.names(".".join(str(name) for name in (above, key) if name != ""))

    def flatten(self, value: Any) -> Iterator[Tensor]:
        """The tensors in a value of this nesting. Raises ``InputError`` for another."""
        if self.kind == "tensor":
            if not isinstance(value, Tensor):
                raise InputError(f"an output is a {type(value).__name__} where a tensor is expected")
            yield value
        elif self.kind != "constant":
            for part, held in zip(self.parts, self._held(value), strict=True):
                yield from part.flatten(held)

    def build(self, flat: Iterator[Any], *, records: bool = True) -> Any:
        """The nesting around tensors in order; without ``records``, these are tuples."""
        if self.kind == "tensor":
            return next(flat)
        if self.kind == "constant":
            return self.constant
        parts = [part.build(flat, records=records) for part in self.parts]
        match self.kind:
            case "list":
                return parts
            case "dict":
                return dict(zip(self.keys, parts, strict=True))
            case "record" if records:
                return _record(self.keys)(*parts)
        return tuple(parts)

    def _held(self, value: Any) -> Sequence[Any]:
        if self.kind == "dict" and isinstance(value, Mapping) and set(self.keys) <= value.keys():
            return [value[key] for key in self.keys]
        if self.kind == "record" and not isinstance(value, tuple | list):
            return [getattr(value, str(key), None) for key in self.keys]
        if isinstance(value, tuple | list) and len(value) == len(self.parts):
            return value
        raise InputError(f"the outputs are a {type(value).__name__} where a {self.kind} of {len(self.parts)} is due")


TENSOR: Final = Nesting()
"""A single tensor."""


def nesting_of(value: Any, depth: int = 0) -> tuple[Nesting, list[Tensor]]:
    """How a value is nested, and its tensors in that order. Raises ``CaptureError`` for what is no plain nesting."""
    if depth > MAX_DEPTH:
        raise CaptureError(f"it returns values nested more than {MAX_DEPTH} deep")
    if isinstance(value, Tensor):
        return TENSOR, [value]
    if value is None or type(value) in (bool, int, float, str):
        return Nesting("constant", constant=value), []
    kind, keys, held = _opened(value)
    found = [nesting_of(part, depth + 1) for part in held]
    return Nesting(kind, tuple(part for part, _ in found), keys), [tensor for _, some in found for tensor in some]


def _opened(value: Any) -> tuple[NestKind, tuple[str | int, ...], list[Any]]:
    """A container's kind, keys and parts."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return ("record", tuple(value._fields), list(value)) if all(map(is_field, value._fields)) else _plain(value)
    if isinstance(value, Mapping):
        keys = tuple(value)
        if not all(type(key) in (str, int) for key in keys):
            raise CaptureError("it returns a dict whose keys are neither words nor whole numbers")
        return "dict", keys, [value[key] for key in keys]
    if isinstance(value, tuple):
        return _plain(value)
    if isinstance(value, list):
        return "list", (), value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = tuple(field.name for field in dataclasses.fields(value))
        held = [getattr(value, name) for name in fields]
        return ("record", fields, held) if all(map(is_field, fields)) else _plain(held)
    raise CaptureError(
        f"it returns a {type(value).__name__}; a network returns tensors, alone or in tuples, lists, dicts, "
        "NamedTuples and dataclasses"
    )


def _plain(parts: Sequence[Any]) -> tuple[NestKind, tuple[str | int, ...], list[Any]]:
    return "tuple", (), list(parts)


@functools.cache
def _record(fields: tuple[str, ...]) -> Any:
    return collections.namedtuple("Outputs", fields)


# --- in files ----------------------------------------------------------------------------------------------------


def to_data(nesting: Nesting) -> dict[str, Any]:
    """As JSON can hold it."""
    data: dict[str, Any] = {"kind": nesting.kind}
    if nesting.parts:
        data["parts"] = [to_data(part) for part in nesting.parts]
    if nesting.keys:
        data["keys"] = list(nesting.keys)
    if nesting.constant is not None:
        data["constant"] = nesting.constant
    return data


def from_data(data: Any, depth: int = 0) -> Nesting:
    """What ``to_data`` wrote. Raises ``CaptureError`` for anything else."""
    kind = KINDS.get(str(data.get("kind"))) if isinstance(data, Mapping) and depth <= MAX_DEPTH else None
    if kind is None:
        raise CaptureError("what it says of its outputs makes no sense")
    parts = tuple(from_data(part, depth + 1) for part in data.get("parts", ()))
    keys, constant = tuple(data.get("keys", ())), data.get("constant")
    plain = all(type(key) in (str, int) for key in keys) and type(constant) in (type(None), bool, int, float, str)
    fits = len(keys) == (len(parts) if kind in ("dict", "record") else 0) and len(set(keys)) == len(keys)
    fields = kind != "record" or all(is_field(key) for key in keys)
    empty = kind not in ("tensor", "constant") or not parts
    if not (plain and fits and fields and empty):
        raise CaptureError("what it says of its outputs makes no sense")
    return Nesting(kind, parts, keys, constant)


def is_field(key: Any) -> bool:
    """Whether a record may have a field of this name."""
    return isinstance(key, str) and key.isidentifier() and not key.startswith("_") and not keyword.iskeyword(key)
