"""Linear maps of the axes of an image, as products with constant matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_out.builder import GraphBuilder, Operand


def by_matrices(b: GraphBuilder, x: Operand, matrices: Sequence[Tensor]) -> OnnxValue:
    """A linear map of each spatial axis: one constant matrix ``(target, size)`` per axis that changes."""
    value, shape = x.value, list(x.sample)
    for axis in range(len(shape) - 1, 0, -1):
        matrix = matrices[axis - 1]
        target, size = matrix.shape
        if target == size and torch.equal(matrix, torch.eye(size)):
            continue
        if axis == len(shape) - 1:
            value = b.op("MatMul", [value, b.weight(matrix.t())])
        else:
            rest = math.prod(shape[axis + 1 :])
            value = b.reshape(value, (*shape[:axis], size, rest))
            value = b.op("MatMul", [b.weight(matrix), value])
        shape[axis] = target
        value = b.reshape(value, tuple(shape)) if axis < len(shape) - 1 else value
    return value
