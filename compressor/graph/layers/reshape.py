"""Layers that change the shape of a sample, and nothing else."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, fx, nn

from compressor.errors import ExportError, GraphError
from compressor.graph.flow.flow import Flow
from compressor.graph.flow.treatments import Treatment
from compressor.graph.layers.kind import NOT_CAPTURED, NOT_READ, Integers, LayerKind
from compressor.graph.leaf import OnnxValue, Shape
from compressor.graph.onnx_out.axes import sample_axis
from compressor.graph.onnx_out.builder import GraphBuilder, Operand
from compressor.graph.traced.call import Call
from compressor.graph.traced.layer import Layer

# --- flatten ---------------------------------------------------------------------------------------------------------


def _captured_flatten(call: Call) -> Layer | None:
    start, end = call.get("start_dim", 0), call.get("end_dim", -1)
    if call.rank and start % call.rank == 0:
        return _captured_rows(call)
    return Layer(nn.Flatten(start, end))


def _captured_rows(call: Call) -> Layer | None:
    """Any way of turning each sample into one row."""
    before, after = call.sample, call.result_sample
    if before is None or after is None or len(before) < 2 or after != (math.prod(before),):
        return None
    return Layer(nn.Flatten(1))


def _flat_shape(layer: nn.Flatten, shape: Shape) -> Shape:
    result = flattened(shape, layer.start_dim, layer.end_dim)
    if result is None:
        raise GraphError(f"{layer} mixes samples of a batch")
    return result


def flattened(shape: Shape, start: int, end: int) -> Shape | None:
    """A sample flattened from ``start`` to ``end`` (the batch is dimension 0); None if the batch is in it."""
    rank = len(shape) + 1
    start, end = start % rank, end % rank
    if start == 0 or start > end:
        return None
    return (*shape[: start - 1], math.prod(shape[start - 1 : end]), *shape[end:])


def _flat_flow(flow: Flow, node: fx.Node, layer: nn.Flatten, x: Tensor) -> Tensor:
    return flow.rectangular(x.flatten(layer.start_dim, layer.end_dim), node)


def _emit_flatten(b: GraphBuilder, layer: nn.Flatten, x: Operand) -> OnnxValue:
    first, last = sample_axis(layer.start_dim, x), sample_axis(layer.end_dim, x)
    if first == last:
        return x.value
    if first == 1 and last == len(x.sample):
        return b.op("Flatten", [x.value], axis=1)
    inner = math.prod(x.sample[first - 1 : last])
    return b.reshape(x.value, (*x.sample[: first - 1], inner, *x.sample[last:]))


# --- unflatten -------------------------------------------------------------------------------------------------------


def _apart_flow(flow: Flow, node: fx.Node, layer: nn.Unflatten, x: Tensor) -> Any:
    return flow.opaque(node, x, f"pass {node.name}, which has their number written into it")


def _emit_unflatten(b: GraphBuilder, layer: nn.Unflatten, x: Operand) -> OnnxValue:
    if not isinstance(layer.dim, int):
        raise ExportError("unflatten of a named dimension")
    axis = sample_axis(layer.dim, x)
    return b.reshape(
        x.value, (*x.sample[: axis - 1], *(int(size) for size in layer.unflattened_size), *x.sample[axis:])
    )


KINDS = (
    LayerKind(
        (nn.Flatten,),
        captured={
            "aten.flatten": _captured_flatten,
            **dict.fromkeys(("aten.view", "aten.reshape", "aten.squeeze"), _captured_rows),
        },
        shape=_flat_shape,
        macs=None,
        treatment=Treatment("lays channels out in rows", _flat_flow),
        emit=_emit_flatten,
        read=NOT_READ,  # graph.onnx_in.reshapes, which keeps track of where the batch is
        integers=Integers.MOVES,
    ),
    LayerKind(
        (nn.Unflatten,),
        captured=NOT_CAPTURED,
        shape=None,
        macs=None,
        treatment=Treatment("has their number written into it, so that none can go", _apart_flow),
        emit=_emit_unflatten,
        read=NOT_READ,
        integers=Integers.MOVES,
    ),
)
