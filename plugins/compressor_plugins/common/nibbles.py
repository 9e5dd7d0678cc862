"""Signed 4-bit weights stored two per byte.

The file holds bytes ``P`` of shape (L, 1), element 2i of the weight in the low half of byte i, element 2i + 1 in the
high half, each as q + 8 with q in −8…7; standard operators spread them out:

    P[L,1] → BitShift(right, [0, 4]) → BitwiseAnd(15) → Cast(float) → Sub(8) → Reshape(-1) (→ Slice) → Reshape(shape)

ONNX Runtime folds all of it at load. The typed INT4 initializer of opset 21 would save two nodes; these need no more
than opset 18, and any runtime has them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressor.errors import ExportError
from compressor.graph.leaf import OnnxBuilder, OnnxValue

OFFSET = 8
_FLOAT = 1
"""``TensorProto.FLOAT``."""


def pack_nibbles(values: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Integers in −8…7 of any shape as bytes ``(ceil(size / 2), 1)``, in C order; an odd last byte is padded."""
    flat = values.reshape(-1).astype(np.int16) + OFFSET
    if flat.size and (flat.min() < 0 or flat.max() > 15):
        raise ExportError("4-bit weights must lie in -8…7")
    even = np.pad(flat, (0, flat.size % 2), constant_values=OFFSET)
    return (even[0::2] | even[1::2] << 4).astype(np.uint8).reshape(-1, 1)


def unpack_nibbles(builder: OnnxBuilder, packed: NDArray[np.uint8], shape: Sequence[int]) -> OnnxValue:
    """The float tensor of ``shape`` that ``pack_nibbles`` packed. Raises ``ExportError`` where the sizes disagree."""
    count = math.prod(shape)
    if packed.dtype != np.uint8 or packed.shape != (-(-count // 2), 1):
        raise ExportError(f"packed bytes of shape {packed.shape} do not hold {count} weights of shape {tuple(shape)}")
    shifts = builder.constant(np.array([0, 4], np.uint8), "b")
    halves = builder.op("BitShift", [builder.constant(packed, "p"), shifts], direction="RIGHT")
    low = builder.op("BitwiseAnd", [halves, builder.constant(np.array(15, np.uint8), "b")])
    value = builder.op("Cast", [low], to=_FLOAT)
    value = builder.op("Sub", [value, builder.constant(np.array(OFFSET, np.float32), "s")])
    if count % 2:
        value = builder.op("Reshape", [value, _integers(builder, [-1])])
        value = builder.op("Slice", [value, _integers(builder, [0]), _integers(builder, [count])])
    return builder.op("Reshape", [value, _integers(builder, shape)])


def _integers(builder: OnnxBuilder, values: Sequence[int]) -> Any:
    return builder.constant(np.array(values, dtype=np.int64), "i")
