"""ONNX operators that move values about: joins, cuts, choices of places, channels turned into space."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

import torch
from torch import Tensor, fx

from compressor.errors import CaptureError
from compressor.graph.leaf import Shape
from compressor.graph.onnx_in.reshapes import note_batch
from compressor.graph.onnx_in.rules import rule
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_node.sizes import Open

aten = torch.ops.aten

NO_BATCH = 10**9
"""As large is no batch: files cut there to say that all of it stays."""


@rule("Transpose")
def transpose(node: Node) -> fx.Node:
    """The batch stays first in the node, and is noted to be elsewhere in the file."""
    rank, batch, joined = len(node.whole()), node.batch_axis(), node.joined()
    order = list(node.attributes.get("perm", reversed(range(rank))))
    if sorted(order) != list(range(rank)):
        raise CaptureError(f"{order} is no order of {rank} dimensions")
    note_batch(node, order.index(batch))
    beside = list(range(batch + 1, batch + len(joined)))
    moved = [0]
    for axis in order:
        moved += beside if axis == batch else [node.axis(axis)]
    if joined:
        node.state.joined[node.outputs[0]] = joined
    return node.apply(torch.permute, node.tensor(), moved) if moved != sorted(moved) else node.tensor()


@rule("Concat")
def concatenate(node: Node) -> fx.Node:
    """Constants among the operands are spread over the batch."""
    first = next(at for at, name in enumerate(node.inputs) if name in node.state.nodes)
    axis = node.axis(node.attributes["axis"], first)
    values = [node.state.nodes.get(name) or _spread(node, name, first) for name in node.inputs]
    return node.apply(torch.cat, values, axis)


def _spread(node: Node, name: str, like: int) -> fx.Node:
    """A constant of one row, once for every sample of another input."""
    constant = node.state.constants[name].float()
    if constant.dim() != len(node.sample(like)) + 1 or constant.shape[0] != 1:
        raise CaptureError(f"its input {name!r} of sizes {tuple(constant.shape)} is no row for each sample")
    nothing = node.apply(torch.clamp, _one_per_sample(node, like, constant.dim()), 0.0, 0.0)
    return node.apply(operator.add, nothing, node.state.operand(node.fresh_constant(constant[0], name), tensor=True))


def _one_per_sample(node: Node, position: int, rank: int) -> fx.Node:
    value = node.tensor(position)
    for axis in range(1, rank):
        value = node.apply(aten.slice.Tensor, value, axis, 0, 1, 1)
    return value


@rule("Expand")
def expand(node: Node) -> fx.Node:
    sizes, sample = node.sizes(1, "shape"), node.sample()
    if len(sizes) > len(sample) + 1:
        raise CaptureError("it puts dimensions before the first, which must be the batch")
    wanted = sizes[1:] if len(sizes) == len(sample) + 1 else sizes
    if any(isinstance(size, Open) for size in wanted):
        raise CaptureError("it spreads values over the batch")
    wanted = [1] * (len(sample) - len(wanted)) + list(wanted)
    pairs = [(own, int(want)) for own, want in zip(sample, wanted, strict=True) if not isinstance(want, Open)]
    grown = [max(own, want) for own, want in pairs]
    if tuple(grown) == sample:
        return node.tensor()
    return node.apply(aten.expand.default, node.tensor(), [-1, *grown])


@rule("Tile")
def tile(node: Node) -> fx.Node:
    """Dimensions of size one are spread; others are joined with themselves."""
    first, *times = node.integers(1, "repeats") or [1]
    sample, value = node.sample(), node.tensor()
    if first != 1 or len(times) != len(sample):
        raise CaptureError("it repeats samples of the batch")
    spread = [count if size == 1 else -1 for count, size in zip(times, sample, strict=True)]
    if any(count > 1 and size == 1 for count, size in zip(times, sample, strict=True)):
        value = node.apply(aten.expand.default, value, [-1, *spread])
    for axis, (count, size) in enumerate(zip(times, sample, strict=True), start=1):
        if count > 1 and size > 1:
            value = node.apply(torch.cat, [value] * count, axis)
    return value


# --- cuts and places ---------------------------------------------------------------------------------------------


@rule("Slice")
def cut(node: Node) -> fx.Node:
    starts, ends = node.integers(1, "starts") or [], node.integers(2, "ends") or []
    axes = node.integers(3, "axes") or list(range(len(starts)))
    steps = node.integers(4, "steps") or [1] * len(starts)
    rank, value = len(node.sample()) + 1, node.tensor()
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if axis % rank == node.batch_axis() and _keeps_the_batch(node, start, end, step):
            continue
        if step == 0:
            raise CaptureError("a step of zero")
        place = node.axis(axis)
        size = node.sample()[place - 1]
        value = chosen_places(node, value, place, range(*slice(start, end, step).indices(size)))
    return value


def _keeps_the_batch(node: Node, start: int, end: int, step: int) -> bool:
    batch = node.state.batch
    return start == 0 and step == 1 and (end >= NO_BATCH or (batch is not None and end >= batch))


def chosen_places(node: Node, value: fx.Node, axis: int, places: range | Sequence[int]) -> fx.Node:
    """The values at these places along an axis: a cut or a reversal where they lie so, and picked one by one if not."""
    shape: Shape = value.meta["shape"]
    size, places = shape[axis - 1], list(places)
    if not places or min(places) < 0 or max(places) >= size:
        raise CaptureError(f"places {places[:4]} of {size} along dimension {axis}")
    step = places[1] - places[0] if len(places) > 1 else 1
    if places == list(range(size)):
        return value
    if step > 0 and places == list(range(places[0], places[-1] + 1, step)):
        return node.apply(aten.slice.Tensor, value, axis, places[0], places[-1] + 1, step)
    if places == list(range(size))[::-1]:
        return node.apply(aten.flip.default, value, [axis])
    index = node.state.operand(node.fresh_constant(torch.tensor(places), f"places {axis}"), tensor=True)
    return node.apply(aten.index_select.default, value, axis, index)


@rule("Gather")
def gather(node: Node) -> fx.Node:
    if node.is_constant(0) and not node.is_constant(1):
        return _looked_up(node)
    logical, places = node.attributes.get("axis", 0), node.constant(1)
    axis, batch = node.axis(logical), node.batch_axis()
    if batch > logical % (len(node.sample()) + 1):
        note_batch(node, batch + places.dim() - 1)
    else:
        note_batch(node, batch)
    size = node.sample()[axis - 1]
    picked = [place + size if place < 0 else place for place in _whole(places)]
    sample = node.sample()
    if places.dim() == 0:
        if not 0 <= picked[0] < size:
            raise CaptureError(f"place {picked[0]} of {size}")
        return node.apply(aten.select.int, node.tensor(), axis, picked[0])
    value = chosen_places(node, node.tensor(), axis, picked)
    return node.reshaped(value, (*sample[: axis - 1], *places.shape, *sample[axis:]))


@rule("GatherND")
def gather_by_several(node: Node) -> fx.Node:
    """The values at places that are told by several dimensions at once, the first ones, none of which is the batch."""
    places, batch, sample = node.constant(1), node.batch_axis(), node.sample()
    count = places.shape[-1]
    if node.attributes.get("batch_dims", 0) or batch < count:
        raise CaptureError("it picks samples of the batch")
    flat = torch.zeros(places.shape[:-1], dtype=torch.int64)
    for axis, size in enumerate(sample[:count]):
        along = places[..., axis] % size
        if bool(((places[..., axis] >= size) | (places[..., axis] < -size)).any()):
            raise CaptureError(f"places that are not among the {size} of dimension {axis}")
        flat = flat * size + along
    joined = node.reshaped(node.tensor(), (math.prod(sample[:count]), *sample[count:]))
    note_batch(node, batch - count + flat.dim())
    return node.reshaped(chosen_places(node, joined, 1, _whole(flat)), (*flat.shape, *sample[count:]))


def _looked_up(node: Node) -> fx.Node:
    """Rows of a table, by whole numbers of the input."""
    if node.attributes.get("axis", 0) % node.constant(0).dim() or node.batch_axis(1):
        raise CaptureError("picks along another dimension than the first of a constant")
    places = node.tensor(1)
    if places.meta.get("dtype") not in (torch.int32, torch.int64):
        places = node.apply(aten.to.dtype, places, torch.int64)
    return node.apply(aten.embedding.default, node.state.operand(node.inputs[0], tensor=True), places)


def _whole(places: Tensor) -> list[int]:
    return [int(place) for place in places.reshape(-1).tolist()]


@rule("Split")
def split(node: Node) -> fx.Node:
    axis = node.axis(node.attributes.get("axis", 0))
    size, count = node.sample()[axis - 1], len(node.outputs)
    sizes = node.integers(1, "split") or [-(-size // count)] * count
    start, parts = 0, []
    for name, length in zip(node.outputs, sizes, strict=True):
        part = node.apply(aten.slice.Tensor, node.tensor(), axis, start, min(start + length, size), 1)
        node.state.nodes[name] = part
        parts.append(part)
        start += length
    return parts[0]


@rule("Trilu")
def triangle(node: Node) -> fx.Node:
    """The upper or lower triangle of the last two dimensions."""
    if node.batch_axis() or len(node.sample()) < 2:
        raise CaptureError("a triangle of the batch")
    offset = int(node.constant(1).item()) if node.given(1) else 0
    kind = torch.triu if node.attributes.get("upper", 1) else torch.tril
    return node.apply(kind, node.tensor(), offset)
