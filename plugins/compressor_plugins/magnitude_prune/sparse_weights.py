"""Weights that are mostly zero, stored as their nonzero values and where those are.

    gaps     u8 distances between nonzeros; a distance above 255 goes by way of a stored zero
             ConstantOfShape → ScatterElements(CumSum(Cast(gaps)), values)             1 + 4 bytes per nonzero
    bitmap   one bit per weight, and a zero before the values for all weights that are none
             Gather([0, values], CumSum(bits) · bits)                     1/8 byte per weight, 4 per nonzero
    dense    4 bytes per weight

ONNX Runtime folds either at load into the plain float weight, bit for bit: such a layer runs at dense speed, no faster.
Gaps win from about 88 % zeros on, the bitmap below that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressor.export.packing import pack_bits, unpack_bits
from compressor.graph.leaf import OnnxBuilder, OnnxValue

_INT32 = 6
"""``TensorProto.INT32``."""
_NODES = {"gaps": 270, "bitmap": 390, "dense": 0}
"""Bytes that nodes and small constants of each form take."""
_LONGEST_GAP = 255


def emit_sparse(builder: OnnxBuilder, weight: NDArray[np.float32]) -> OnnxValue:
    """The float tensor ``weight`` in the form that takes the fewest bytes."""
    sizes = stored_bytes(weight)
    form = min(sizes, key=lambda name: sizes[name] + _NODES[name])
    if form == "gaps":
        return _emit_gaps(builder, weight)
    if form == "bitmap":
        return _emit_bitmap(builder, weight)
    return builder.constant(weight, "w")


def stored_bytes(weight: NDArray[np.float32]) -> Mapping[str, int]:
    """Bytes of weights and positions by form, without nodes."""
    gaps, _ = split_gaps(weight)
    return {
        "gaps": 5 * len(gaps),
        "bitmap": -(-weight.size // 8) + 4 * (1 + int(np.count_nonzero(weight))),
        "dense": 4 * weight.size,
    }


def split_gaps(weight: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Distances (K,) and values (K,): value k lies at the sum of distances 0…k in the flat weight."""
    flat = weight.reshape(-1)
    positions = np.flatnonzero(flat)
    if not len(positions):
        return np.zeros(1, np.uint8), np.zeros(1, np.float32)
    distances = np.diff(positions, prepend=0)
    detours = np.maximum(distances - 1, 0) // _LONGEST_GAP
    ends = np.cumsum(detours + 1) - 1
    gaps = np.full(ends[-1] + 1, _LONGEST_GAP, np.uint8)
    gaps[ends] = distances - _LONGEST_GAP * detours
    values = np.zeros(len(gaps), np.float32)
    values[ends] = flat[positions]
    return gaps, values


def _emit_gaps(builder: OnnxBuilder, weight: NDArray[np.float32]) -> OnnxValue:
    gaps, values = split_gaps(weight)
    distances = builder.op("Cast", [builder.constant(gaps, "g")], to=_INT32)
    positions = builder.op("CumSum", [distances, builder.constant(np.array(0, np.int32), "i")])
    nothing = builder.op("ConstantOfShape", [_integers(builder, [weight.size])])
    flat = builder.op("ScatterElements", [nothing, positions, builder.constant(values, "v")], axis=0)
    return builder.op("Reshape", [flat, _integers(builder, weight.shape)])


def _emit_bitmap(builder: OnnxBuilder, weight: NDArray[np.float32]) -> OnnxValue:
    flat = weight.reshape(-1)
    zero, one = (builder.constant(np.array(value, np.int32), "i") for value in (0, 1))
    bits = unpack_bits(builder, pack_bits(flat != 0), flat.shape, one, zero)
    places = builder.op("Mul", [builder.op("CumSum", [bits, zero]), bits])
    values = np.concatenate([np.zeros(1, np.float32), flat[flat != 0]])
    spread = builder.op("Gather", [builder.constant(values, "v"), places], axis=0)
    return builder.op("Reshape", [spread, _integers(builder, weight.shape)])


def _integers(builder: OnnxBuilder, values: Any) -> OnnxValue:
    return builder.constant(np.array(values, dtype=np.int64), "i")
