"""What kinds of layers share that treat every value alone and have no tensors: settings in, the same settings out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import fx, nn

from compressor.graph.flow.treatments import ELEMENTWISE
from compressor.graph.layers.kind import Capture, Emit, Integers, LayerKind, Read
from compressor.graph.leaf import OnnxValue, Shape
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_out.builder import GraphBuilder, Operand
from compressor.graph.traced.call import Call
from compressor.graph.traced.layer import Layer


def elementwise(
    *classes: type[nn.Module],
    captured: Mapping[str, Capture],
    emit: Emit,
    read: Mapping[str, Read],
    integers: Integers | None = None,
    clips: bool = False,
) -> LayerKind:
    return LayerKind(
        classes,
        captured=captured,
        shape=same_shape,
        macs=None,
        treatment=ELEMENTWISE,
        emit=emit,
        read=read,
        integers=integers,
        clips=clips,
    )


def same_shape(_: nn.Module, shape: Shape) -> Shape:
    return shape


def with_settings(kind: Callable[..., nn.Module], **defaults: Any) -> Capture:
    """A layer whose settings are arguments of the same name."""

    def capture(call: Call) -> Layer:
        return Layer(kind(**{name: call.get(name, default) for name, default in defaults.items()}))

    return capture


def one_operator(op_type: str, attributes: Callable[[Any], dict[str, Any]] = lambda _: {}) -> Emit:
    """A layer that is one ONNX operator; ``attributes`` are those of the layer."""

    def emit(b: GraphBuilder, layer: nn.Module, x: Operand) -> OnnxValue:
        return b.op(op_type, [x.value], **attributes(layer))

    return emit


def one_layer(build: Callable[[Node], nn.Module]) -> Read:
    """An ONNX operator that is one layer."""

    def read(node: Node) -> fx.Node:
        return node.leaf(build(node), node.tensor())

    return read
