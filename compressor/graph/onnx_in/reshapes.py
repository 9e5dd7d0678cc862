"""ONNX operators that change the shape of values; where the batch is in the new one, and what it is joined with.

A node of the network has the batch first, always. The file may have it elsewhere (``State.batch_axes``), or joined with
other dimensions (``State.joined``), as where every step of a sequence goes through a matrix, or every head of an
attention is a sample of its own:

    (time, batch, features)  →  (time · batch, features)  →  product  →  (time, batch, columns)
    (time, batch, features)  →  (time, batch · heads, columns)  →  (batch · heads, time, columns)

All that a change of shape has to keep is how many values of a sample lie before the batch, and how many behind it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import fx

from compressor.errors import CaptureError
from compressor.graph.leaf import Shape
from compressor.graph.onnx_in.rules import rule
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_node.sizes import BATCH, UNKNOWN, Open, Size

BETWEEN_SAMPLES = "it moves values between samples"


@rule("Flatten")
def flatten(node: Node) -> fx.Node:
    sizes = node.whole()
    axis = node.attributes.get("axis", 1) % len(sizes) if node.attributes.get("axis", 1) != len(sizes) else len(sizes)
    if axis == 1 and sizes[0] is BATCH:
        return node.rows(node.tensor())
    if UNKNOWN in sizes:
        raise CaptureError("it joins the batch with other dimensions")
    return _arranged(
        node, [UNKNOWN if BATCH in part else math.prod(_known(part)) for part in (sizes[:axis], sizes[axis:])]
    )


@rule("Reshape")
def reshape(node: Node) -> fx.Node:
    sizes, before = node.sizes(1, "shape"), node.whole()
    if not node.attributes.get("allowzero"):
        sizes = [before[place] if size == 0 and place < len(before) else size for place, size in enumerate(sizes)]
    if not node.joined() and node.batch_axis() == 0 and _fits(sizes[1:], node.sample()):
        return node.reshaped(node.tensor(), _filled(sizes[1:], node.sample()))
    return _arranged(node, sizes)


@rule("Squeeze", "Unsqueeze")
def squeeze(node: Node) -> fx.Node:
    logical, axes = node.whole(), node.integers(1, "axes")
    rank = len(logical)
    if node.operator == "Squeeze":
        axes = [place for place, size in enumerate(logical) if size == 1] if axes is None else axes
        dropped = {axis % rank for axis in axes if node.axis(axis)}
        logical = [size for place, size in enumerate(logical) if place not in dropped]
    else:
        for axis in sorted(axis % (rank + len(axes or ())) for axis in axes or ()):
            logical.insert(axis, 1)
    note_batch(node, logical.index(BATCH))
    return node.reshaped(node.tensor(), _known(logical))


def note_batch(node: Node, axis: int) -> None:
    """Say which dimension of the result is the batch, where it is not the first."""
    if axis:
        node.state.batch_axes[node.outputs[0]] = axis


# --- with the batch in another place -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Side:
    """New sizes before or behind the dimension that holds the batch, and how much of it is joined with the batch."""

    sizes: Shape
    joined: int


def _arranged(node: Node, sizes: Sequence[Size]) -> fx.Node:
    """The values of each sample in the new sizes, one of which holds the batch."""
    found = [(place, *sides) for place in _places(sizes, node.state.batch) if (sides := _sides(node, sizes, place))]
    if not found:
        raise CaptureError(f"{BETWEEN_SAMPLES}, from {tuple(node.whole())} to {tuple(sizes)}")
    place, first, last = min(found, key=lambda one: _unlikely(one[1].joined * one[2].joined, sizes[one[0]]))
    note_batch(node, place)
    beside = [size for size in (first.joined, last.joined) if size != 1]
    if beside:
        joined: list[Size] = [first.joined, BATCH, last.joined]
        node.state.joined[node.outputs[0]] = tuple(size for size in joined if size != 1)
    return node.reshaped(node.tensor(), (*first.sizes, *beside, *last.sizes))


def _unlikely(joined: int, size: Size) -> tuple[bool, int]:
    """Order of the places where the batch may be in a file that fixes its size, so that any reading is right there.

    What the file leaves open is likely to hold it, but for a place that holds it alone, and little else rather than
    much: heads rather than positions.
    """
    return (joined > 1, joined if isinstance(size, int) and size != -1 else 0)


def _sides(node: Node, sizes: Sequence[Size], place: int) -> tuple[_Side, _Side] | None:
    """What is before and behind the batch where this place holds it; None where it cannot."""
    size = sizes[place]
    first, last = (
        _side(part, count, alone=size is BATCH)
        for part, count in zip((sizes[:place], sizes[place + 1 :]), _around(node), strict=True)
    )
    if first is None or last is None:
        return None
    open_ = not isinstance(size, int) or size == -1
    return (first, last) if open_ or size == first.joined * last.joined * (node.state.batch or 0) else None


def _around(node: Node) -> tuple[int, int]:
    """How many values of a sample lie before the batch, and how many behind it."""
    joined, sample = node.joined(), node.sample()
    place = node.batch_axis() + (joined.index(BATCH) if joined else 0)
    return math.prod(sample[:place]), math.prod(sample[place:])


def _places(sizes: Sequence[Size], fixed: int | None) -> Iterator[int]:
    """Which of the new sizes may hold the batch; ``fixed``: the batch size that the file has."""
    for kind in (BATCH, UNKNOWN):
        if kind in sizes:
            yield sizes.index(kind)
            return
    yield from (place for place, size in enumerate(sizes) if size == -1)
    if fixed is not None:
        yield from (
            place for place, size in enumerate(sizes) if isinstance(size, int) and size > 0 and size % fixed == 0
        )


def _side(sizes: Sequence[Size], count: int, *, alone: bool) -> _Side | None:
    """``alone``: nothing is joined with the batch. None where ``count`` values have no such sizes."""
    known = _known(sizes)
    total = math.prod(size for size in known if size != -1)
    if len(known) < len(sizes) or known.count(-1) > 1 or total <= 0 or count % total:
        return None
    if -1 in known or alone:
        return _Side(_filled(known, (count,)), 1) if _fits(known, (count,)) else None
    return _Side(known, count // total)


# --- sizes -----------------------------------------------------------------------------------------------------------


def _fits(sizes: Sequence[Size], before: Shape) -> bool:
    """Whether values of sizes ``before`` may have the new ones, of which one may be open."""
    if any(isinstance(size, Open) for size in sizes):
        return False
    known, open_, total = (
        math.prod(size for size in _known(sizes) if size != -1),
        list(sizes).count(-1),
        math.prod(before),
    )
    return open_ <= 1 and (known == total if not open_ else known > 0 and total % known == 0)


def _filled(sizes: Sequence[Size], before: Shape) -> Shape:
    """New sizes of values of sizes ``before``, with the open one worked out."""
    if any(isinstance(size, Open) for size in sizes):
        raise CaptureError("it moves the batch from its place, or sizes calculated from it")
    known = _known(sizes)
    if known.count(-1) > 1 or any(size < -1 for size in known):
        raise CaptureError("several of its new sizes are open")
    rest = math.prod(before) // max(math.prod(size for size in known if size != -1), 1)
    return tuple(rest if size == -1 else size for size in known)


def _known(sizes: Sequence[Size]) -> Shape:
    """The sizes without the batch."""
    return tuple(int(size) for size in sizes if not isinstance(size, Open))
