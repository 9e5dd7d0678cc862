"""Softmax in its forms."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from torch import Tensor, fx, nn

from compressor.errors import CaptureError, ExportError
from compressor.graph.flow.flow import Flow
from compressor.graph.flow.treatments import Treatment
from compressor.graph.layers.elementwise import same_shape
from compressor.graph.layers.kind import NOT_CAPTURED, NOT_READ, Capture, Emit, LayerKind, Read
from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_out.axes import sample_axis
from compressor.graph.onnx_out.builder import GraphBuilder, Operand
from compressor.graph.traced.call import Call
from compressor.graph.traced.layer import Layer


def _captured(kind: Callable[..., nn.Module]) -> Capture:
    def capture(call: Call) -> Layer | None:
        return None if call.has("dtype") else Layer(kind(dim=call.get("dim")))

    return capture


def _flow(flow: Flow, node: fx.Node, layer: Any, x: Tensor) -> Tensor:
    dim = getattr(layer, "dim", 1)
    if dim is None:
        dim = 0 if x.dim() in (1, 4) else 1
    flow.mix(x, [dim], node, f"{node.target} weighs channels against each other")
    return x


def _emit(op_type: str, *, negated: bool = False) -> Emit:
    def emit(b: GraphBuilder, layer: nn.Softmax, x: Operand) -> OnnxValue:
        if layer.dim is None:
            raise ExportError("softmax without an explicit dim")
        value = b.op("Neg", [x.value]) if negated else x.value
        return b.op(op_type, [value], axis=sample_axis(layer.dim, x))

    return emit


def _emit_over_channels(b: GraphBuilder, layer: nn.Softmax2d, x: Operand) -> OnnxValue:
    return b.op("Softmax", [x.value], axis=1)


def _read(kind: Callable[[int], nn.Module]) -> Read:
    """Along one axis; ``to_the_end``, as before operator set 13, along all from that axis on, taken as one."""

    def read(node: Node) -> fx.Node:
        axis, sample = node.axis(node.attributes.get("axis", -1)), node.sample()
        behind = sample[axis:]
        if node.attributes.get("to_the_end") and node.batch_axis():
            raise CaptureError("all dimensions from an axis on, where the batch is not the first")
        if not node.attributes.get("to_the_end") or math.prod(behind) == 1:
            return node.leaf(kind(axis), node.tensor())
        joined = node.reshaped(node.tensor(), (*sample[: axis - 1], math.prod(sample[axis - 1 :])))
        return node.reshaped(node.leaf(kind(axis), joined), sample)

    return read


def _kind(
    of: type[nn.Module],
    emit: Emit,
    captured: Mapping[str, Capture] = NOT_CAPTURED,
    read: Mapping[str, Read] = NOT_READ,
) -> LayerKind:
    return LayerKind((of,), captured=captured, shape=same_shape, macs=None, treatment=_WEIGHS, emit=emit, read=read)


_WEIGHS: Final = Treatment("weighs what lies along one dimension against each other", _flow)

KINDS = (
    _kind(
        nn.Softmax,
        _emit("Softmax"),
        captured={"aten.softmax": _captured(nn.Softmax)},
        read={"Softmax": _read(nn.Softmax)},
    ),
    _kind(
        nn.LogSoftmax,
        _emit("LogSoftmax"),
        captured={"aten.log_softmax": _captured(nn.LogSoftmax)},
        read={"LogSoftmax": _read(nn.LogSoftmax)},
    ),
    _kind(nn.Softmin, _emit("Softmax", negated=True)),
    _kind(nn.Softmax2d, _emit_over_channels),
)
