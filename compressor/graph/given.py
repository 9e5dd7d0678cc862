"""What a user says of a network's inputs: sizes alone, or a name and a type as well; in a script or as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from compressor.errors import InputError
from compressor.graph.leaf import Shape
from compressor.graph.signature import TensorSpec

TYPES: Final[Mapping[str, torch.dtype]] = {
    str(kind).removeprefix("torch."): kind
    for kind in (
        torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.int8, torch.int16, torch.int32,
        torch.int64, torch.bool,
    )
}  # fmt: skip
"""Types of inputs by name."""

OneInput = Shape | TensorSpec | Tensor | Sequence[int]
InputsGiven = Any
"""``OneInput``, several in a tuple or list, or by name in a mapping."""


@dataclass(frozen=True)
class Given:
    """One input: its name where it was said, the shape of one sample, its type where it is not the module's."""

    name: str
    shape: Shape
    dtype: torch.dtype | None = None


def given_inputs(inputs: InputsGiven) -> tuple[Given, ...]:
    """What ``inputs`` says of each input; nothing for None.

    Sizes ``(3, 32, 32)`` are one input. So are a ``TensorSpec`` and an example tensor ``(N, 3, 32, 32)``, whose first
    dimension is the batch. Several come in a tuple or list, in the order of ``forward``'s arguments, or in a mapping by
    the names of these. Raises ``InputError`` for anything else.
    """
    if inputs is None:
        return ()
    if isinstance(inputs, Mapping):
        return tuple(_one(value, str(name)) for name, value in inputs.items())
    if isinstance(inputs, TensorSpec | Tensor | Given) or _is_shape(inputs):
        return (_one(inputs),)
    if isinstance(inputs, tuple | list):
        return tuple(_one(value) for value in inputs)
    raise InputError(f"the input is a {type(inputs).__name__}, where sizes such as (3, 32, 32) are expected")


def _one(value: Any, name: str = "") -> Given:
    match value:
        case Given():
            return value
        case TensorSpec():
            return Given(name or value.name, value.shape, value.dtype)
        case Tensor() if value.dim():
            return Given(name, tuple(value.shape[1:]), value.dtype)
        case _ if _is_shape(value):
            return Given(name, tuple(value))
    raise InputError(f"an input is given as {value!r:.60}, where sizes such as (3, 32, 32) are expected")


def _is_shape(value: Any) -> bool:
    """Positive sizes; none at all for an input of one number per sample."""
    return isinstance(value, tuple | list) and all(type(size) is int and size > 0 for size in value)


def parse_input(text: str) -> Given:
    """``3x32x32``, ``image=3x224x224``, ``extra=4:int64``, ``scale=:float32`` (one number). Raises ``InputError``."""
    name, named, rest = text.rpartition("=")
    sizes, typed, kind = rest.partition(":")
    parts = sizes.lower().replace("×", "x").replace(",", "x").split("x") if sizes or not typed else []
    whole = all(part.strip().isdecimal() and len(part) < 10 and int(part) > 0 for part in parts)
    if not whole or (named and not name):
        raise InputError(f"--input {text[:60]}: expected sizes such as 3x32x32, or NAME=SIZES:TYPE such as x=4:int64")
    if typed and kind not in TYPES:
        raise InputError(f"--input {text[:60]}: {kind[:20]!r} is no type; types are {', '.join(TYPES)}")
    return Given(name, tuple(map(int, parts)), TYPES[kind] if typed else None)
