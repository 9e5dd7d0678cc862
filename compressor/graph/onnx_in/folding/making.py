"""Values made from sizes and counts."""

from __future__ import annotations

import math
from typing import Any

import torch
from onnx import numpy_helper
from torch import Tensor

from compressor.errors import CaptureError
from compressor.graph.onnx_in.folding.arguments import (
    MAX_FOLDED,
    TYPES_READ,
    Attributes,
    Fold,
    Operands,
    Rule,
    first_of,
    numbers,
)


def _filled(inputs: Operands, attributes: Attributes) -> Fold:
    proto = attributes.get("value")
    if proto is not None and (proto.data_type not in TYPES_READ or list(proto.dims) not in ([], [1])):
        raise CaptureError("a filling that is no single number")
    fill = torch.zeros(()) if proto is None else _number_of(proto)
    return torch.broadcast_to, (fill, numbers(inputs, 0, attributes, "shape"))


def _number_of(proto: Any) -> Tensor:
    return torch.from_numpy(numpy_helper.to_array(proto).copy()).reshape(())


def _range(inputs: Operands, attributes: Attributes) -> Fold:
    start, limit, step = (first_of([value]) for value in inputs)
    return _count, (start.item(), limit.item(), step.item(), start.dtype)


def _count(start: float, limit: float, step: float, dtype: torch.dtype) -> Tensor:
    if not step or (limit - start) / step > MAX_FOLDED:
        raise CaptureError("a range without an end")
    count = max(math.ceil((limit - start) / step), 0)
    return torch.arange(count).mul(step).add(start).to(dtype)


def _eye(inputs: Operands, attributes: Attributes) -> Fold:
    x = first_of(inputs)
    return _diagonal, (x, attributes.get("k", 0), TYPES_READ[attributes["dtype"]] if "dtype" in attributes else x.dtype)


def _diagonal(x: Tensor, offset: int, dtype: torch.dtype) -> Tensor:
    return torch.ones(x.shape, dtype=dtype, device=x.device).triu(offset).tril(offset)


FOLDS: dict[str, Rule] = {
    "ConstantOfShape": _filled,
    "EyeLike": _eye,
    "Range": _range,
}
