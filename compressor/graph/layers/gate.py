"""GLU: one half of the channels, gated by the other."""

from __future__ import annotations

from torch import nn

from compressor.graph.layers.kind import NOT_CAPTURED, NOT_READ, LayerKind
from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_out.axes import sample_axis
from compressor.graph.onnx_out.builder import GraphBuilder, Operand


def _emit(b: GraphBuilder, layer: nn.GLU, x: Operand) -> OnnxValue:
    axis = sample_axis(layer.dim, x)
    half = x.sizes[axis] // 2
    left, right = b.ops("Split", [x.value, b.integers([half, half])], 2, axis=axis)
    return b.op("Mul", [left, b.op("Sigmoid", [right])])


KINDS = (
    LayerKind(
        (nn.GLU,),
        captured=NOT_CAPTURED,
        shape=None,
        macs=None,
        treatment=None,
        emit=_emit,
        read=NOT_READ,
    ),
)
