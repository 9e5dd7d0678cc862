"""ONNX operators that change the shape of values; where the batch is in the new one, and what it is joined with.

A node of the network has the batch first, always. The file may have it elsewhere (``State.batch_axes``), or joined with
other dimensions into the first (``State.joined``), as where every step of a sequence goes through a matrix:
``(time, batch, features)`` → ``(time · batch, features)`` → product → ``(time, batch, columns)``. The node then stays
as it was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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
    if BATCH not in sizes[:axis] or UNKNOWN in sizes:
        raise CaptureError("it joins the batch with other dimensions")
    return _join(node, sizes, (_count(sizes[axis:]),))


@rule("Reshape")
def reshape(node: Node) -> fx.Node:
    sizes, before = node.sizes(1, "shape"), node.whole()
    if not node.attributes.get("allowzero"):
        sizes = [before[place] if size == 0 and place < len(before) else size for place, size in enumerate(sizes)]
    if node.joined():
        return _taken_apart(node, sizes)
    if node.batch_axis() == 0 and _fits(sizes[1:], node.sample()):
        return node.reshaped(node.tensor(), _filled(sizes[1:], node.sample()))
    if BATCH in sizes:
        return _with_the_batch_at(node, sizes, sizes.index(BATCH))
    if sizes[0] in (-1, UNKNOWN) or (isinstance(sizes[0], int) and node.state.batch is not None):
        return _join(node, before, sizes[1:], sizes[0])
    if node.batch_axis():
        raise CaptureError(f"the batch, dimension {node.batch_axis()} of what it takes, is not in its new sizes")
    raise CaptureError(f"{BETWEEN_SAMPLES}, from {node.sample()} to {tuple(sizes[1:])}")


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


def _with_the_batch_at(node: Node, sizes: Sequence[Size], place: int) -> fx.Node:
    """What lies before the batch stays before it."""
    batch, sample = node.batch_axis(), node.sample()
    first = _filled(sizes[:place], sample[:batch])
    last = _filled(sizes[place + 1 :], sample[batch:])
    if math.prod(first) != math.prod(sample[:batch]):
        raise CaptureError(BETWEEN_SAMPLES)
    note_batch(node, place)
    return node.reshaped(node.tensor(), (*first, *last))


def _join(node: Node, before: Sequence[Size], rest: Sequence[Size], total: Size = -1) -> fx.Node:
    """The batch and others become one dimension, in front of ``rest``, which is made of what lies behind them.

    ``total``: how large the one dimension is, where the file fixes its batch.
    """
    for count in range(max(before.index(BATCH) + 1, 2), len(before) + 1):
        own, behind = _known(before[:count]), _known(before[count:])
        if _fits(rest, behind) and total in (-1, UNKNOWN, math.prod(own) * (node.state.batch or 0)):
            node.state.joined[node.outputs[0]] = tuple(before[:count])
            return node.reshaped(node.tensor(), (*own, *_filled(rest, behind)))
    raise CaptureError(BETWEEN_SAMPLES)


def _taken_apart(node: Node, sizes: Sequence[Size]) -> fx.Node:
    """The dimensions that were joined, or other ones of the same values, are apart again; or they stay together."""
    leading = node.joined()
    own = _known(leading)
    rest, batch = node.sample()[len(own) :], leading.index(BATCH)
    if sizes[0] in (-1, UNKNOWN) and _fits(sizes[1:], rest):
        node.state.joined[node.outputs[0]] = leading
        return node.reshaped(node.tensor(), (*own, *_filled(sizes[1:], rest)))
    fixed = node.state.batch
    for place, size in enumerate(sizes):
        if size is not BATCH and (size != -1 or BATCH in sizes) and (fixed is None or size != fixed):
            continue
        first, last = sizes[:place], sizes[place + 1 :]
        for end in range(len(last) + 1):
            if _fits(first, own[:batch]) and _fits(last[:end], own[batch:]) and _fits(last[end:], rest):
                note_batch(node, place)
                parts = _filled(first, own[:batch]), _filled(last[:end], own[batch:]), _filled(last[end:], rest)
                return node.reshaped(node.tensor(), (*parts[0], *parts[1], *parts[2]))
    raise CaptureError(BETWEEN_SAMPLES)


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


def _count(sizes: Sequence[Size]) -> int:
    return math.prod(_known(sizes))
