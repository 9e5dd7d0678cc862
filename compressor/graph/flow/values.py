"""Tensors of identities: shaped as the value they stand for, a batch of two, and free where nothing varies.

A map whose channels are ``(C,)`` is held as ``(1, C, 1, 1)`` expanded to ``(2, C, H, W)``: dimensions along which
nothing varies have stride 0 and take no memory, through permutations, slices and most reshapes too.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

TRACE_BATCH = 2
NOTHING = 0
"""The identity of plain numbers, which have no channels and unite nothing."""


def core(value: Tensor) -> Tensor:
    """The part that says all: dimensions of stride 0 cut to one entry."""
    for dim in range(value.dim()):
        if value.stride(dim) == 0 and value.size(dim) > 1:
            value = value.narrow(dim, 0, 1)
    return value


def has_one_entry(value: Tensor, dim: int) -> bool:
    """Whether a value holds one entry along a dimension."""
    return value.size(dim) == 1 or value.stride(dim) == 0


def along(vector: Tensor, dim: int, shape: Iterable[int]) -> Tensor:
    """A value whose identities are ``vector`` along ``dim``, shaped as ``shape`` but for that."""
    sizes = list(shape)
    dim %= len(sizes)
    sizes[dim] = len(vector)
    return vector.reshape([-1 if d == dim else 1 for d in range(len(sizes))]).expand(sizes)


def slices(value: Tensor, dim: int) -> Tensor:
    """One identity for each slice along ``dim``: those at the first place of all other dimensions."""
    dim %= value.dim()
    for other in range(value.dim() - 1, -1, -1):
        if other != dim:
            value = value.select(other, 0)
    return value


def collapsed(value: Tensor, dims: Iterable[int]) -> Tensor:
    """Along ``dims`` the first identity everywhere; the shape stays."""
    shape = value.shape
    for dim in dims:
        value = value.narrow(dim, 0, 1)
    return value.expand(shape)


def broadcast(left: Tensor, right: Tensor) -> tuple[int, ...]:
    """The common shape of two values of equal rank. Raises ``ValueError`` where there is none."""
    sizes = []
    for one, other in zip(left.shape, right.shape, strict=True):
        if one != other and 1 not in (one, other):
            raise ValueError(f"shapes {tuple(left.shape)} and {tuple(right.shape)} do not combine")
        sizes.append(max(one, other) if 0 not in (one, other) else 0)
    return tuple(sizes)
