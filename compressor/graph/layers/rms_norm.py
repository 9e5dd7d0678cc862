"""RMSNorm: each row divided by the root of its mean square, times a weight per column,

    y = w · x / √(mean x² + ε)

(Zhang and Sennrich, "Root Mean Square Layer Normalization", arXiv:1910.07467).
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from compressor.errors import CaptureError
from compressor.graph.flow.flow import Flow
from compressor.graph.flow.treatments import NO_PRODUCER, Treatment
from compressor.graph.layers.kind import LayerKind
from compressor.graph.layers.windows import expect
from compressor.graph.leaf import OnnxValue, Shape
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_out.builder import GraphBuilder, Operand
from compressor.graph.traced.call import Call
from compressor.graph.traced.layer import Layer, trained, with_tensors


def _captured(call: Call) -> Layer | None:
    """A weight that is computed, or that nobody trains, has no place in a layer: the operation stays as it is."""
    affine, shape = call.has("weight"), tuple(call.get("normalized_shape"))
    if affine and not trained(call, "weight"):
        return None
    return with_tensors(call, lambda: nn.RMSNorm(shape, call.get("eps"), elementwise_affine=affine), "weight")


def _shape(layer: nn.RMSNorm, shape: Shape) -> Shape:
    columns = tuple(layer.normalized_shape)
    expect(shape[-len(columns) :] == columns, layer, shape)
    return shape


def _flow(flow: Flow, node: fx.Node, layer: nn.RMSNorm, x: Tensor) -> Tensor:
    """All columns are in one mean, so they go together or not at all."""
    path = str(node.target)
    flow.block(path, NO_PRODUCER)
    flow.mix(x, range(-len(layer.normalized_shape), 0), node, f"{path} normalises all channels together")
    return x


def _emit(b: GraphBuilder, layer: nn.RMSNorm, x: Operand) -> OnnxValue:
    """ONNX has an operator of this name from opset 23 on; these say the same in every one."""
    epsilon = torch.finfo(torch.float32).eps if layer.eps is None else layer.eps
    columns = b.integers(range(-len(layer.normalized_shape), 0))
    mean = b.op("ReduceMean", [b.op("Mul", [x.value, x.value]), columns], keepdims=True)
    value = b.op("Div", [x.value, b.op("Sqrt", [b.op("Add", [mean, b.scalar(epsilon)])])])
    return value if layer.weight is None else b.op("Mul", [value, b.weight(layer.weight)])


def _read(node: Node) -> fx.Node:
    axis = node.axis(node.attributes.get("axis", -1))
    columns = node.sample()[axis - 1 :]
    if node.constant(1).numel() != torch.Size(columns).numel():
        raise CaptureError(f"scales of sizes {tuple(node.constant(1).shape)} for {columns}")
    layer = nn.RMSNorm(columns, node.attributes.get("epsilon", 1e-5))
    return node.leaf(layer, node.tensor(), weight=1)


KINDS = (
    LayerKind(
        (nn.RMSNorm,),
        captured={"aten.rms_norm": _captured},
        shape=_shape,
        macs=None,
        treatment=Treatment("normalises whole rows, so that none of their channels can go", _flow),
        emit=_emit,
        read={"RMSNormalization": _read},
        tensors=("weight",),
    ),
)
