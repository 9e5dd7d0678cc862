"""Sums of signs in 8-bit integers, exactly, as ONNX Runtime runs them fast.

A sign s is a byte u = high · (s + 1) / 2, with high 1 or 2. For weights S of ±1 the sum z = S ∗ s is

    linear        S·u = high · (z + ΣS) / 2                         MatMulInteger, MatMulIntegerToFloat
    convolution   high = 2 and zero point 1: u − 1 = s, and zeros that are padded are zeros           QLinearConv

QLinearConv gives bytes. Where a sign is wanted of z + t, t whole, its scale ½ and zero point 2 make 2(z + t) + 2 of the
sum, saturated at 0 and 255, and a clip to [0, 2] leaves u of the sign. Where z itself is wanted, the channels are split
into parts whose sums fit into a byte: over an even number of channels every sum of signs is even, however many taps lie
in the padding, so up to 254 products fit at a scale of 2, up to 127 otherwise; the parts add up in float32.

A sign is taken by ``>=``: ONNX's Sign(0) is 0. Weights are stored at one bit and spread out at load.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressor.export.packing import pack_bits, unpack_bits
from compressor.graph.leaf import OnnxBuilder, OnnxValue

Signs = NDArray[np.bool_]
"""Weights of ±1: true is +1."""

_UINT8 = 2
"""ONNX ``TensorProto.UINT8``."""
_CENTRE = 128
"""The byte that stands for a sum of 0."""


def emit_bytes(builder: OnnxBuilder, x: OnnxValue, high: int, entry: NDArray[np.float32]) -> OnnxValue:
    """Signs of x − entry as bytes 0 and ``high`` (1 or 2); ``entry`` broadcasts to x."""
    flags = builder.op("GreaterOrEqual", [x, builder.constant(entry, "t")])
    if high == 1:
        return builder.op("Cast", [flags], to=_UINT8)
    return builder.op("Where", [flags, _scalar(builder, high, np.uint8), _scalar(builder, 0, np.uint8)])


def emit_signs(builder: OnnxBuilder, x: OnnxValue, entry: NDArray[np.float32]) -> OnnxValue:
    """Signs of x − entry as floats ±1."""
    flags = builder.op("GreaterOrEqual", [x, builder.constant(entry, "t")])
    return builder.op("Where", [flags, _scalar(builder, 1, np.float32), _scalar(builder, -1, np.float32)])


def emit_floats(builder: OnnxBuilder, u: OnnxValue) -> OnnxValue:
    """Bytes 0 and 2 as floats ±1."""
    return builder.op("DequantizeLinear", [u, _scalar(builder, 1, np.float32), _scalar(builder, 1, np.uint8)])


# --- linear ----------------------------------------------------------------------------------------------------------


def emit_product(
    builder: OnnxBuilder, u: OnnxValue, high: int, signs: Signs, scale: NDArray[Any], bias: NDArray[Any]
) -> OnnxValue:
    """Rows scale · z + bias in float32. ``signs``: (outputs, features); ``scale``, ``bias``: (outputs,) float64."""
    sums = np.where(signs, 1, -1).sum(1)
    unit = _scalar(builder, 1, np.float32)
    step = builder.constant((2 / high * scale).astype(np.float32), "a")
    shift = builder.constant((bias - scale * sums).astype(np.float32), "b")
    operands = [u, _weight(builder, signs.T), unit, step, None, None, shift]
    return builder.op("MatMulIntegerToFloat", operands, domain="com.microsoft")


def emit_product_signs(
    builder: OnnxBuilder, u: OnnxValue, high: int, signs: Signs, threshold: NDArray[np.int64]
) -> OnnxValue:
    """Bytes 0 and 1: signs of z + threshold. ``threshold``: (outputs,) whole numbers."""
    least = (np.where(signs, 1, -1).sum(1) - threshold) * high  # twice the least product of a +1
    product = builder.op("MatMulInteger", [u, _weight(builder, signs.T)])
    flags = builder.op("GreaterOrEqual", [product, builder.constant((-(-least // 2)).astype(np.int32), "t")])
    return builder.op("Cast", [flags], to=_UINT8)


# --- convolution -----------------------------------------------------------------------------------------------------


def parts_of(channels: int, taps: int) -> list[int]:
    """Channels in parts whose sums of signs fit into a byte, ``taps`` products per channel; empty where none do."""
    most, odd = 254 // taps // 2 * 2, 127 // taps
    if channels <= odd:
        return [channels]
    if most == 0 or (channels % 2 and odd == 0):
        return []
    whole, rest = divmod(channels, most)
    parts = [most] * whole
    if rest % 2 and rest > odd:
        return [*parts, rest - 1, 1]
    return [*parts, rest] if rest else parts


def emit_convolution(
    builder: OnnxBuilder,
    u: OnnxValue,
    signs: Signs,
    scale: NDArray[Any],
    bias: NDArray[Any] | None,
    settings: Mapping[str, Any],
) -> OnnxValue:
    """scale · z + bias in float32, of bytes 0 and 2. ``signs``: (outputs, channels, kh, kw), as ``parts_of`` allows."""
    parts = parts_of(signs.shape[1], int(np.prod(signs.shape[2:])))
    weight, pieces, weights = _weight(builder, signs), [u], []
    if len(parts) > 1:
        pieces = _split(builder, u, parts)
        weights = _split(builder, weight, parts)
    total: OnnxValue | None = None
    for piece, own, channels in zip(pieces, weights or [weight], parts, strict=True):
        step = 2.0 if channels % 2 == 0 else 1.0
        sums = _convolve(builder, piece, own, step, _CENTRE, None, settings)
        centre = builder.constant(np.full(len(signs), _CENTRE, np.uint8), "z")
        scaled = builder.constant((step * scale).astype(np.float32), "a")
        value = builder.op("DequantizeLinear", [sums, scaled, centre], axis=1)
        total = value if total is None else builder.op("Add", [total, value])
    assert total is not None
    return total if bias is None else builder.op("Add", [total, _per_channel(builder, bias)])


def emit_convolution_signs(
    builder: OnnxBuilder, u: OnnxValue, signs: Signs, threshold: NDArray[np.int64], settings: Mapping[str, Any]
) -> OnnxValue:
    """Bytes 0 and 2 from bytes 0 and 2: signs of z + threshold. ``threshold``: (outputs,) whole numbers."""
    bias = builder.constant(threshold.astype(np.int32), "t")
    sums = _convolve(builder, u, _weight(builder, signs), 0.5, 2, bias, settings)
    return builder.op("Clip", [sums, _scalar(builder, 0, np.uint8), _scalar(builder, 2, np.uint8)])


def _convolve(
    builder: OnnxBuilder,
    u: OnnxValue,
    weight: OnnxValue,
    step: float,
    centre: int,
    bias: OnnxValue | None,
    settings: Mapping[str, Any],
) -> OnnxValue:
    """Bytes centre + (z + bias) / step, saturated."""
    unit, zero = _scalar(builder, 1, np.float32), _scalar(builder, 0, np.int8)
    operands = [u, unit, _scalar(builder, 1, np.uint8), weight, unit, zero]
    operands += [_scalar(builder, step, np.float32), _scalar(builder, centre, np.uint8)]
    return builder.op("QLinearConv", [*operands, bias] if bias is not None else operands, **settings)


def _split(builder: OnnxBuilder, value: OnnxValue, parts: Sequence[int]) -> list[OnnxValue]:
    """Pieces along the channels."""
    sizes = builder.constant(np.array(parts, np.int64), "i")
    return list(builder.ops("Split", [value, sizes], len(parts), axis=1))


def _weight(builder: OnnxBuilder, signs: Signs) -> OnnxValue:
    """±1 as signed bytes, stored at one bit each."""
    plus, minus = (_scalar(builder, value, np.int8) for value in (1, -1))
    return unpack_bits(builder, pack_bits(signs), signs.shape, plus, minus)


def _per_channel(builder: OnnxBuilder, values: NDArray[Any]) -> OnnxValue:
    return builder.constant(values.astype(np.float32).reshape(-1, 1, 1), "b")


def _scalar(builder: OnnxBuilder, value: float, dtype: type[np.generic]) -> OnnxValue:
    return builder.constant(np.array(value, dtype), "s")
