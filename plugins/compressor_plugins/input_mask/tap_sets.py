"""A masked kernel as one or two small convolutions without zeros: what ONNX Runtime can be quick about.

Taps that form a product rows × columns, evenly spaced, are a convolution of their own: kernel |rows| × |columns|, the
spacing as dilation, the first tap's place taken off the padding. Other masks are a sum of such products, one per kind
of row.

Per axis, with kernel size k, dilation d, stride s, padding (b, e) and n kept taps f, f + g, …:

    begin = b − f·d  (negative: the first rows of the image are cut off, since ONNX does not pad by less than nothing)
    end   = as much as the last output needs, given that nothing is cut where the division rounds the rest away
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from torch import Tensor

TWO_PAY_FROM_MACS = 400_000
"""Two convolutions and a sum were slower than one dense one below (3→16 on 32² 0.94×), and faster above."""
TWO_PAY_UP_TO = 0.56
"""Share of the taps kept: 5 of 9 gave 1.0–1.2×, 7 of 9 gave 0.90–0.98× on images of three channels."""


SINGLE_PAYS_FROM_INPUTS = 16
"""A part of one tap passes over all outputs for one multiplication per input channel: on images of three channels
1.02–1.13× on one processor, 0.93–0.97× on another; with 64 channels 1.7×."""


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a convolution: input size, kernel size, stride, dilation, zeros before and behind."""

    size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    behind: int

    @property
    def outputs(self) -> int:
        return (self.size + self.before + self.behind - self.dilation * (self.kernel - 1) - 1) // self.stride + 1


@dataclass(frozen=True)
class Taps:
    """Kept taps along one axis, and how the convolution over them reads it."""

    indices: tuple[int, ...]
    dilation: int
    start: int
    """Input positions cut off before the first."""
    stop: int
    """Input positions cut off behind the last."""
    before: int
    behind: int


@dataclass(frozen=True)
class Product:
    """A convolution over a product set of taps."""

    rows: Taps
    columns: Taps

    @property
    def count(self) -> int:
        return len(self.rows.indices) * len(self.columns.indices)


def products(mask: Tensor, rows: Axis, columns: Axis, inputs: int, dense_macs: int) -> list[Product]:
    """The convolutions whose sum is the masked one; empty where the dense one is as fast or faster.

    ``inputs``: channels each filter reads.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, bits in enumerate(mask.tolist()):
        kept = tuple(column for column, bit in enumerate(bits) if bit)
        if kept:
            groups.setdefault(kept, []).append(row)
    parts = [(tuple(where), kept) for kept, where in groups.items()]
    if len(parts) > 2 or not all(_even(indices) for part in parts for indices in part):
        return []
    if len(parts) == 2 and (dense_macs < TWO_PAY_FROM_MACS or int(mask.sum()) > TWO_PAY_UP_TO * mask.numel()):
        return []
    if len(parts) == 2 and inputs < SINGLE_PAYS_FROM_INPUTS and any(len(r) * len(c) == 1 for r, c in parts):
        return []
    return [Product(_along(rows, where), _along(columns, kept)) for where, kept in parts]


def _even(indices: tuple[int, ...]) -> bool:
    return len({second - first for first, second in itertools.pairwise(indices)}) <= 1


def _along(axis: Axis, indices: tuple[int, ...]) -> Taps:
    spacing = axis.dilation * (indices[1] - indices[0]) if len(indices) > 1 else 1
    first = axis.before - indices[0] * axis.dilation
    begin, start = max(first, 0), max(-first, 0)
    needed = (axis.outputs - 1) * axis.stride + spacing * (len(indices) - 1) + 1
    missing = needed - begin - (axis.size - start)
    stop = -missing if missing <= -axis.stride else 0
    return Taps(indices, spacing, start, stop, begin, max(missing, 0))


def macs(taps: int, filters: int, inputs: int, rows: Axis, columns: Axis) -> int:
    """Multiply-accumulates of ``taps`` taps for one sample; ``inputs``: channels each filter reads."""
    return math.prod((taps, filters, inputs, rows.outputs, columns.outputs))
