"""Values put together: reductions along axes, running sums, products of matrices."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import torch
from torch import Tensor

from compressor.errors import CaptureError
from compressor.graph.onnx_in.folding.arguments import Attributes, Fold, Operands, Rule, first_of, numbers

MAX_PRODUCTS: Final = 2**34
"""Multiply-accumulates in one product of constants."""


def _reduction(function: Callable[..., Tensor]) -> Callable[[Operands, Attributes], Fold]:
    def fold(inputs: Operands, attributes: Attributes) -> Fold:
        x, axes = first_of(inputs), numbers(inputs, 1, attributes, "axes")
        if not axes and attributes.get("noop_with_empty_axes"):
            return torch.clone, (x,)
        axes = sorted(axis % x.dim() for axis in axes) or list(range(x.dim()))
        return _reduce, (function, x, axes, bool(attributes.get("keepdims", 1)))

    return fold


def _reduce(function: Callable[..., Tensor], x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in reversed(axes):
        x = function(x, dim=axis, keepdim=keep)
    return x.clone()


def _whole_mean(x: Tensor, dim: int, keepdim: bool) -> Tensor:
    return x.to(torch.float64).mean(dim, keepdim).to(x.dtype)


def _product_along(x: Tensor, dim: int, keepdim: bool) -> Tensor:
    return x.prod(dim, keepdim, dtype=x.dtype)


def _sum_along(x: Tensor, dim: int, keepdim: bool) -> Tensor:
    return x.sum(dim, keepdim, dtype=x.dtype)


def _running_sum(inputs: Operands, attributes: Attributes) -> Fold:
    x, axis = first_of(inputs), numbers(inputs, 1, attributes, "axis")[0]
    if attributes.get("exclusive") or attributes.get("reverse"):
        raise CaptureError("a running sum that leaves out its end, or runs backwards")
    return _cumulate, (x, axis)


def _cumulate(x: Tensor, axis: int) -> Tensor:
    return torch.cumsum(x, axis, dtype=x.dtype)


def _product(inputs: Operands, attributes: Attributes) -> Fold:
    left, right = inputs
    if left is None or right is None or left.dim() < 2:
        raise CaptureError("a product of constants that are no matrices")
    if torch.matmul(left.to("meta"), right.to("meta")).numel() * left.shape[-1] > MAX_PRODUCTS:
        raise CaptureError(f"a product of constants that takes more than {MAX_PRODUCTS} multiplications")
    return torch.matmul, (left, right)


FOLDS: dict[str, Rule] = {
    "CumSum": _running_sum,
    "MatMul": _product,
    "ReduceL1": _reduction(partial(torch.linalg.vector_norm, ord=1)),
    "ReduceL2": _reduction(torch.linalg.vector_norm),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMean": _reduction(_whole_mean),
    "ReduceMin": _reduction(torch.amin),
    "ReduceProd": _reduction(_product_along),
    "ReduceSum": _reduction(_sum_along),
}
