"""Values as networks take and give them: a tensor, or tuples, lists and dicts of tensors.

Every tensor has the samples of a batch along its first dimension. A list among targets has one entry per sample,
such as the boxes in an image; a list that a network returns is a structure, which its signature makes flat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

Nested = Any
"""A tensor, or a tuple, list or dict of such."""
Inputs = Tensor | tuple[Tensor, ...]
"""What a network takes: a tensor where it has one input, otherwise a tuple in the order of its signature."""


def map_tensors(change: Callable[[Tensor], Any], value: Nested) -> Nested:
    """The same structure with every tensor changed; what is no tensor stays as it is."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: map_tensors(change, part) for key, part in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(change, part) for part in value))
    if isinstance(value, (list, tuple)):
        return type(value)(map_tensors(change, part) for part in value)
    return value


def tensors(value: Nested) -> Iterator[Tensor]:
    """Every tensor, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from tensors(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors(part)


def first(value: Nested) -> Tensor:
    """The first tensor. Raises ``ValueError`` where there is none."""
    for tensor in tensors(value):
        return tensor
    raise ValueError("there is no tensor in it")


def samples(value: Nested) -> int:
    """How many samples a batch has: the length of its first tensor, or of a list with one entry per sample."""
    if isinstance(value, list):
        return len(value)
    return len(first(value))


def to_device(value: Nested, device: torch.device | str) -> Nested:
    """The same on another device."""
    return map_tensors(lambda tensor: tensor.to(device), value)


def count(value: Nested) -> int | None:
    """How many samples every part has; None where nothing has any. Raises ``ValueError`` where parts disagree."""
    if isinstance(value, Tensor):
        return len(value) if value.ndim else None
    if isinstance(value, list):
        return len(value)
    if not isinstance(value, (dict, tuple)):
        return None
    parts = value.values() if isinstance(value, dict) else value
    found = {number for part in parts if (number := count(part)) is not None}
    if len(found) > 1:
        raise ValueError(f"parts of {' and '.join(map(str, sorted(found)))} samples")
    return found.pop() if found else None


def rows(value: Nested, chosen: slice | Tensor) -> Nested:
    """The samples ``chosen`` of a batch; of a list with one entry per sample, those entries."""
    if isinstance(value, Tensor):
        return value[chosen]
    if isinstance(value, list):
        return value[chosen] if isinstance(chosen, slice) else [value[index] for index in chosen.tolist()]
    if isinstance(value, dict):
        return {key: rows(part, chosen) for key, part in value.items()}
    if isinstance(value, tuple):
        made = [rows(part, chosen) for part in value]
        return type(value)(*made) if hasattr(value, "_fields") else tuple(made)
    return value


def joined(parts: Sequence[Nested]) -> Nested:
    """Batches of one structure as one batch. At least one part."""
    head = parts[0]
    if isinstance(head, Tensor):
        return torch.cat(list(parts))
    if isinstance(head, dict):
        return {key: joined([part[key] for part in parts]) for key in head}
    if isinstance(head, tuple):
        made = [joined([part[index] for part in parts]) for index in range(len(head))]
        return type(head)(*made) if hasattr(head, "_fields") else tuple(made)
    if isinstance(head, list):
        return [entry for part in parts for entry in part]
    return head


def without_lists(outputs: Nested) -> Nested:
    """What a network returned, its lists as tuples: a list has one entry per sample elsewhere."""
    if isinstance(outputs, dict):
        return {key: without_lists(part) for key, part in outputs.items()}
    if isinstance(outputs, list | tuple):
        parts = [without_lists(part) for part in outputs]
        return type(outputs)(*parts) if hasattr(outputs, "_fields") else tuple(parts)
    return outputs


def nudged(value: Tensor, by: float, generator: torch.Generator) -> Tensor:
    """Real numbers moved by one part in 1 / ``by``; flags and whole numbers as they are."""
    if not value.is_floating_point():
        return value
    return value * (1 + by * torch.randn(value.shape, generator=generator).to(value))


def value_in_words(value: Any) -> str:
    """``(8, 3, 4) of float32``, ``dict of boxes, labels``: a value of a batch in a few words."""
    match value:
        case None:
            return "none"
        case Tensor():
            return f"{tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
        case dict():
            return f"dict of {', '.join(map(str, value))}"[:100]
        case list():
            return f"list, one {type(value[0]).__name__ if value else 'entry'} per sample"
        case tuple():
            return f"tuple of {len(value)}"
    return type(value).__name__
