"""Writing a layer of torch's own by its kind."""

from __future__ import annotations

from torch import nn

from compressor.errors import ExportError
from compressor.graph.layers.table import kind_of
from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_out.builder import GraphBuilder, Operand


def write_layer(b: GraphBuilder, layer: nn.Module, x: Operand) -> OnnxValue:
    """What the layer computes in eval mode. Raises ``ExportError`` where its kind has no ONNX form, or is not known."""
    kind = kind_of(layer)
    if kind is None or kind.emit is None:
        raise ExportError("this kind of layer has no ONNX form; a class derived from Leaf brings its own")
    return kind.emit(b, layer, x)
