"""Weights of two values stored at one bit each.

The file holds packed bytes ``P`` of shape (L, 1); standard operators spread them out:

    P[L,1] → BitwiseAnd([1, 2, 4, …, 128]) → Cast(bool) → Reshape(-1) (→ Slice, when padded) → Reshape(shape)
           → Where(positive, negative)

ONNX Runtime folds all of it at load into the plain float weight, so the layer runs at dense speed while its weight
takes 1/32 of the bytes, plus about 300 bytes for the nodes: worth it from some hundred weights on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressor.errors import ExportError
from compressor.graph.leaf import OnnxBuilder, OnnxValue

BITS = np.array([1, 2, 4, 8, 16, 32, 64, 128], dtype=np.uint8)
"""Bit i of a byte holds element i of its group of eight (little-endian bit order)."""


def pack_bits(signs: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Booleans of any shape as bytes ``(ceil(size / 8), 1)``, in C order, the last byte padded with zeros."""
    flat = np.ascontiguousarray(signs, dtype=np.bool_).reshape(-1)
    return np.packbits(flat, bitorder="little").reshape(-1, 1)


def unpack_bits(
    builder: OnnxBuilder,
    packed: NDArray[np.uint8],
    shape: Sequence[int],
    positive: OnnxValue,
    negative: OnnxValue | None = None,
) -> OnnxValue:
    """The tensor of ``shape`` holding ``positive`` where a bit is set and ``negative`` (default: −positive) elsewhere.

    ``packed`` comes from ``pack_bits``; ``positive`` and ``negative`` broadcast to ``shape``. Raises ``ExportError``
    when the bytes do not fit the shape.
    """
    count = math.prod(shape)
    if packed.dtype != np.uint8 or packed.shape != (-(-count // 8), 1):
        raise ExportError(f"packed bits of shape {packed.shape} do not hold {count} weights of shape {tuple(shape)}")
    bits = builder.op("BitwiseAnd", [builder.constant(packed, "p"), builder.constant(BITS, "b")])
    flags = builder.op("Cast", [bits], to=_BOOL)
    if count % 8:
        flags = builder.op("Reshape", [flags, _integers(builder, [-1])])
        flags = builder.op("Slice", [flags, _integers(builder, [0]), _integers(builder, [count])])
    flags = builder.op("Reshape", [flags, _integers(builder, shape)])
    if negative is None:
        negative = builder.op("Neg", [positive])
    return builder.op("Where", [flags, positive, negative])


_BOOL = 9
"""``TensorProto.BOOL``."""


def _integers(builder: OnnxBuilder, values: Sequence[int]) -> Any:
    return builder.constant(np.array(values, dtype=np.int64), "i")
