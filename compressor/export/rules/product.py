"""Products of tensors: matrices, einsum, attention, similarity."""

from __future__ import annotations

import math

import numpy as np
import torch

from compressor.errors import ExportError
from compressor.export.rules.arithmetic import tensor
from compressor.export.rules.call import CallSite, function
from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_out.builder import GraphBuilder, Operand


@function("matmul", "bmm", "mm", "mv")
def product(b: GraphBuilder, call: CallSite) -> OnnxValue:
    return b.op("MatMul", [b.real(call.operand()), b.real(call.operand(1, "other", "mat2", "vec"))])


@function("addmm", "baddbmm")
def shifted_product(b: GraphBuilder, call: CallSite) -> OnnxValue:
    """β · shift + α · (left @ right)."""
    shift, left, right = (call.operand(i, n) for i, n in ((0, "input"), (1, "batch1"), (2, "batch2")))
    value = b.op("MatMul", [left.value, right.value])
    for position, name in ((4, "alpha"), (3, "beta")):
        if (factor := call.argument(position, name, default=1)) != 1:
            scaled = value if name == "alpha" else shift.value
            scaled = b.op("Mul", [scaled, b.scalar(float(factor))])
            value, shift = (scaled, shift) if name == "alpha" else (value, Operand(scaled, shift.shape))
    return b.op("Add", [shift.value, value])


@function("einsum")
def einsum(b: GraphBuilder, call: CallSite) -> OnnxValue:
    equation, *operands = call.argument(0, "equation"), *call.rest(1, "tensors")
    return b.op("Einsum", [tensor(b, operand) for operand in operands], equation=equation)


@function("bilinear")
def bilinear(b: GraphBuilder, call: CallSite) -> OnnxValue:
    left, right, weight = (call.operand(i) for i in range(3))
    value = b.op("Einsum", [left.value, weight.value, right.value], equation="...i,kij,...j->...k")
    bias = call.argument(3, "bias")
    return value if bias is None else b.op("Add", [value, tensor(b, bias)])


@function("cosine_similarity")
def cosine(b: GraphBuilder, call: CallSite) -> OnnxValue:
    left, right = call.operand(0, "x1"), call.operand(1, "x2")
    axes = b.integers([call.argument(2, "dim", default=1) % left.rank])
    least = b.scalar(float(call.argument(3, "eps", default=1e-8)))
    lengths = [b.op("Max", [b.op("ReduceL2", [x.value, axes], keepdims=True), least]) for x in (left, right)]
    unit = [b.op("Div", [x.value, length]) for x, length in zip((left, right), lengths, strict=True)]
    return b.op("ReduceSum", [b.op("Mul", unit), axes], keepdims=False)


@function("scaled_dot_product_attention")
def attention(b: GraphBuilder, call: CallSite) -> OnnxValue:
    """softmax(scale · query @ keyᵀ + mask) @ value."""
    query, key, value = (call.operand(i, name) for i, name in enumerate(("query", "key", "value")))
    if call.argument(4, "dropout_p", default=0):
        raise ExportError("attention with dropout that is always on has no fixed function to export")
    scale = call.argument(6, "scale") or 1 / math.sqrt(query.sizes[-1])
    rank = key.rank
    turned = b.op("Transpose", [key.value], perm=[*range(rank - 2), rank - 1, rank - 2])
    scores = b.op("Mul", [b.op("MatMul", [query.value, turned]), b.scalar(float(scale))])
    mask = call.argument(3, "attn_mask")
    if call.argument(5, "is_causal", default=False):
        allowed = torch.ones(query.sizes[-2], key.sizes[-2], dtype=torch.bool).tril()
        mask = Operand(b.constant(allowed), None, torch.bool)
    if isinstance(mask, Operand):
        added = _as_addition(b, mask) if mask.kind is torch.bool else mask.value
        scores = b.op("Add", [scores, added])
    return b.op("MatMul", [b.op("Softmax", [scores], axis=-1), value.value])


def _as_addition(b: GraphBuilder, allowed: Operand) -> OnnxValue:
    nothing = b.constant(np.array(-np.inf, dtype=np.float32))
    return b.op("Where", [allowed.value, b.scalar(0.0), nothing])
