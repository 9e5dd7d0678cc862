"""Values moved about: reshaped, cut, padded, chosen by their places."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from compressor.errors import CaptureError
from compressor.graph.onnx_in.folding.arguments import Attributes, Fold, Operands, Rule, first_of, numbers


def _reshape(inputs: Operands, attributes: Attributes) -> Fold:
    x = first_of(inputs)
    sizes = numbers(inputs, 1, attributes, "shape")
    if not attributes.get("allowzero"):
        sizes = [x.shape[place] if size == 0 else size for place, size in enumerate(sizes)]
    return torch.reshape, (x, sizes)


def _flatten(inputs: Operands, attributes: Attributes) -> Fold:
    x = first_of(inputs)
    axis = attributes.get("axis", 1)
    before = math.prod(x.shape[: axis if axis >= 0 else axis + x.dim()])
    return torch.reshape, (x, [before, x.numel() // max(before, 1)])


def _unsqueeze(inputs: Operands, attributes: Attributes) -> Fold:
    x, axes = first_of(inputs), numbers(inputs, 1, attributes, "axes")
    sizes, rank = list(x.shape), x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        sizes.insert(axis, 1)
    return torch.reshape, (x, sizes)


def _squeeze(inputs: Operands, attributes: Attributes) -> Fold:
    x, axes = first_of(inputs), numbers(inputs, 1, attributes, "axes")
    dropped = {axis % x.dim() for axis in axes} or {axis for axis, size in enumerate(x.shape) if size == 1}
    return torch.reshape, (x, [size for axis, size in enumerate(x.shape) if axis not in dropped])


def _transpose(inputs: Operands, attributes: Attributes) -> Fold:
    x = first_of(inputs)
    return torch.permute, (x, list(attributes.get("perm", reversed(range(x.dim())))))


def _expand(inputs: Operands, attributes: Attributes) -> Fold:
    x = first_of(inputs)
    sizes = numbers(inputs, 1, attributes, "shape")
    sizes = [1] * (x.dim() - len(sizes)) + sizes
    kept = [1] * (len(sizes) - x.dim()) + list(x.shape)
    return torch.broadcast_to, (x, [own if size == 1 else size for own, size in zip(kept, sizes, strict=True)])


def _slice(inputs: Operands, attributes: Attributes) -> Fold:
    starts, ends = numbers(inputs, 1, attributes, "starts"), numbers(inputs, 2, attributes, "ends")
    axes = numbers(inputs, 3, attributes, "axes") or list(range(len(starts)))
    steps = numbers(inputs, 4, attributes, "steps") or [1] * len(starts)
    return _cut, (inputs[0], tuple(zip(axes, starts, ends, steps, strict=True)))


def split(inputs: Operands, attributes: Attributes, count: int) -> list[Fold]:
    """One fold for each of ``count`` parts: the only operator here with several results."""
    x, axis = first_of(inputs), attributes.get("axis", 0)
    sizes = numbers(inputs, 1, attributes, "split") or [-(-x.shape[axis] // count)] * count
    ends = list(itertools.accumulate(sizes))
    return [(_cut, (x, ((axis, end - size, end, 1),))) for size, end in zip(sizes, ends, strict=True)]


def _cut(x: Tensor, cuts: Sequence[tuple[int, int, int, int]]) -> Tensor:
    for axis, start, end, step in cuts:
        start, stop, step = slice(start, end, step).indices(x.shape[axis])
        if step < 0:  # the same places the other way round
            places = range(start, stop, step)
            x = _along(x, axis, places[-1], places[0] + 1, -step).flip(axis) if places else _along(x, axis, 0, 0, 1)
        else:
            x = _along(x, axis, start, stop, step)
    return x


def _along(x: Tensor, axis: int, start: int, stop: int, step: int) -> Tensor:
    return x[(slice(None),) * (axis % x.dim()) + (slice(start, stop, step),)]


def _pad(inputs: Operands, attributes: Attributes) -> Fold:
    x, pads = first_of(inputs), numbers(inputs, 1, attributes, "pads")
    fill = inputs[2] if len(inputs) > 2 else None
    if attributes.get("mode", b"constant") != b"constant":
        raise CaptureError("padding with copied values")
    axes = numbers(inputs, 3, attributes, "axes") or list(range(x.dim()))
    sides = {axis % x.dim(): pair for axis, *pair in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True)}
    pairs = [size for axis in reversed(range(x.dim())) for size in sides.get(axis, (0, 0))]
    return F.pad, (x, pairs, "constant", 0 if fill is None else fill.item())


def _take(x: Tensor, places: Tensor, axis: int) -> Tensor:
    size = x.shape[axis]
    flat = places.reshape(-1).long()
    axis %= x.dim()
    chosen = x.index_select(axis, torch.where(flat < 0, flat + size, flat))
    return chosen.reshape(*x.shape[:axis], *places.shape, *x.shape[axis + 1 :])


def _scatter(inputs: Operands, attributes: Attributes) -> Fold:
    if attributes.get("reduction", b"none") != b"none":
        raise CaptureError("values that are combined where they meet")
    return _place, (*inputs, attributes.get("axis", 0))


def _place(x: Tensor, places: Tensor, values: Tensor, axis: int) -> Tensor:
    return torch.scatter(x, axis, places.long(), values)


FOLDS: dict[str, Rule] = {
    "Concat": lambda inputs, attributes: (torch.cat, (list(inputs), attributes["axis"])),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": lambda inputs, attributes: (_take, (*inputs, attributes.get("axis", 0))),
    "Pad": _pad,
    "Reshape": _reshape,
    "ScatterElements": _scatter,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Tile": lambda inputs, attributes: (torch.tile, (inputs[0], numbers(inputs, 1, attributes, "repeats"))),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
