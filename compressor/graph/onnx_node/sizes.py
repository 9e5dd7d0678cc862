"""Sizes computed inside an ONNX graph (Shape → Gather → Concat → Reshape), followed as far as they hold the batch size.

The batch size is not known while reading. ``BATCH`` stands for it and may be moved about; what is calculated from it is
``UNKNOWN``, and refused only where somebody needs it. Sizes without either are constants like all others.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from compressor.errors import CaptureError


class Open(enum.Enum):
    """A size that is not known while reading."""

    BATCH = "batch"
    UNKNOWN = "?"

    def __repr__(self) -> str:
        return self.value


BATCH, UNKNOWN = Open.BATCH, Open.UNKNOWN
Size = int | float | Open
SizeVector = list[Size] | Size
"""A vector of sizes, or a single one. Fractions occur on the way: factors of a resize."""


def is_known(sizes: SizeVector) -> bool:
    """Whether neither the batch size is in them, nor anything calculated from it."""
    return not any(isinstance(size, Open) for size in vector(sizes))


def vector(sizes: SizeVector) -> list[Size]:
    return sizes if isinstance(sizes, list) else [sizes]


def compute(operator: str, inputs: Sequence[SizeVector | None], attributes: Mapping[str, Any]) -> SizeVector | None:
    """The sizes an operator of today's form makes of sizes; None for operators that are not about sizes."""
    given = [sizes for sizes in inputs if sizes is not None]
    match operator:
        case "Identity" | "Cast" | "Floor" | "Ceil" | "Reshape":
            return given[0]
        case "Gather":
            return _gathered(vector(given[0]), given[1])
        case "Unsqueeze":
            return [_single(given[0])]
        case "Squeeze":
            return _single(given[0])
        case "Concat":
            return [size for part in given for size in vector(part)]
        case "Slice":
            return _sliced(inputs, attributes)
        case "ReduceProd":
            return _reduced(vector(given[0]), attributes)
        case "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" | "Mod" | "Equal":
            return _calculated(_OPERATIONS[operator], given[0], given[1])
        case "Where":
            return _chosen(*given)
    return None


def _gathered(values: list[Size], places: SizeVector) -> SizeVector:
    chosen = [values[_index(place, len(values))] for place in vector(places)]
    return chosen if isinstance(places, list) else chosen[0]


def _index(place: Size, count: int) -> int:
    if isinstance(place, Open) or not -count <= place < count:
        raise CaptureError("it picks a size by what is calculated from the batch, or one that is not there")
    return int(place)


def _single(sizes: SizeVector) -> Size:
    values = vector(sizes)
    if len(values) != 1:
        raise CaptureError("it takes several sizes for one")
    return values[0]


def _sliced(inputs: Sequence[SizeVector | None], attributes: Mapping[str, Any]) -> list[Size]:
    values = vector(inputs[0] if inputs[0] is not None else [])
    if len(inputs) > 1:
        found = [None if position >= len(inputs) else inputs[position] for position in (1, 2, 4)]
        start, end, step = (None if item is None else _single(item) for item in found)
    else:
        start, end, step = attributes["starts"][0], attributes["ends"][0], 1
    if any(isinstance(bound, Open) for bound in (start, end, step)):
        raise CaptureError("it cuts sizes where the batch says")
    return values[slice(*(None if bound is None else int(bound) for bound in (start, end, step)))]  # type: ignore[arg-type]


def _reduced(values: list[Size], attributes: Mapping[str, Any]) -> SizeVector:
    known = [size for size in values if not isinstance(size, Open)]
    if len(known) == len(values):
        total: Size = math.prod(known)
    else:
        total = next(size for size in values if isinstance(size, Open)) if math.prod(known) == 1 else UNKNOWN
        total = UNKNOWN if len(values) - len(known) > 1 else total
    return [total] if attributes.get("keepdims", 1) else total


def _calculated(operation: Callable[[Size, Size], Size], left: SizeVector, right: SizeVector) -> SizeVector:
    first, second = vector(left), vector(right)
    count = max(len(first), len(second))
    if {len(first), len(second)} - {1, count}:
        raise CaptureError(f"it combines {len(first)} sizes with {len(second)}")
    spread = zip(first * (count // len(first)), second * (count // len(second)), strict=True)
    results = [operation(a, b) for a, b in spread]
    return results if isinstance(left, list) or isinstance(right, list) else results[0]


def _chosen(condition: SizeVector, yes: SizeVector, no: SizeVector) -> SizeVector:
    flags, one, other = vector(condition), vector(yes), vector(no)
    count = max(len(flags), len(one), len(other))
    flags, one, other = (part * (count // len(part)) for part in (flags, one, other))
    chosen = [
        UNKNOWN if isinstance(flag, Open) else a if flag else b for flag, a, b in zip(flags, one, other, strict=True)
    ]
    return chosen if isinstance(condition, list) else chosen[0]


def _known(left: Size, right: Size, operation: Callable[[Any, Any], Any], neutral: int | None) -> Size:
    if not isinstance(left, Open) and not isinstance(right, Open):
        result: Size = operation(left, right)
        return result
    return left if neutral is not None and right == neutral else UNKNOWN


def _divided(left: Any, right: Any) -> Any:
    if not right:
        raise CaptureError("it divides sizes by zero")
    whole = isinstance(left, int) and isinstance(right, int)
    return int(left / right) if whole else left / right


def _equal(left: Size, right: Size) -> Size:
    """The batch size is no −1."""
    if -1 in (left, right) and isinstance(left, Open) != isinstance(right, Open):
        return 0
    return _known(left, right, lambda a, b: int(a == b), None)


_OPERATIONS: dict[str, Callable[[Size, Size], Size]] = {
    "Add": lambda a, b: _known(a, b, lambda x, y: x + y, 0),
    "Sub": lambda a, b: _known(a, b, lambda x, y: x - y, 0),
    "Mul": lambda a, b: _known(a, b, lambda x, y: x * y, 1) if b is not BATCH else _known(b, a, lambda x, y: x * y, 1),
    "Div": lambda a, b: _known(a, b, _divided, 1),
    "Max": lambda a, b: _known(a, b, max, None),
    "Min": lambda a, b: _known(a, b, min, None),
    "Mod": lambda a, b: _known(a, b, lambda x, y: x % y if y else _divided(x, y), None),
    "Equal": _equal,
}
