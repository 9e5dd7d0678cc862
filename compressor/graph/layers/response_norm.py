"""Local response normalisation: every channel divided by what its neighbours hold."""

from __future__ import annotations

from torch import Tensor, fx, nn

from compressor.errors import CaptureError
from compressor.graph.flow.flow import Flow
from compressor.graph.flow.treatments import Treatment
from compressor.graph.layers.elementwise import same_shape
from compressor.graph.layers.kind import NOT_CAPTURED, LayerKind
from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_out.builder import GraphBuilder, Operand


def _flow(flow: Flow, node: fx.Node, layer: nn.Module, x: Tensor) -> Tensor:
    flow.mix(x, [1], node, f"{node.target} weighs neighbouring channels against each other")
    return x


def _emit(b: GraphBuilder, layer: nn.LocalResponseNorm, x: Operand) -> OnnxValue:
    """ONNX Runtime takes odd windows only; an even one reaches one channel further back than ahead."""
    alpha, beta, bias = float(layer.alpha), float(layer.beta), float(layer.k)
    if layer.size % 2:
        return b.op("LRN", [x.value], size=layer.size, bias=bias, alpha=alpha, beta=beta)
    squares = b.op("Reshape", [b.op("Mul", [x.value, x.value]), b.integers([0, 1, x.sample[0], -1])])
    pads = [layer.size // 2, 0, (layer.size - 1) // 2, 0]
    means = b.op("AveragePool", [squares], kernel_shape=[layer.size, 1], pads=pads, count_include_pad=True)
    spread = b.op("Add", [b.op("Mul", [b.reshape(means, x.sample), b.scalar(alpha)]), b.scalar(bias)])
    return b.op("Div", [x.value, b.op("Pow", [spread, b.scalar(beta)])])


def _read(node: Node) -> fx.Node:
    """ONNX extends an even window to the one side, torch to the other."""
    get, size = node.attributes.get, node.attributes["size"]
    if size % 2 == 0:
        raise CaptureError(f"an even window of {size} channels")
    layer = nn.LocalResponseNorm(size, get("alpha", 1e-4), get("beta", 0.75), get("bias", 1.0))
    return node.leaf(layer, node.tensor())


KINDS = (
    LayerKind(
        (nn.LocalResponseNorm,),
        captured=NOT_CAPTURED,
        shape=same_shape,
        macs=None,
        treatment=Treatment("weighs neighbouring channels against each other, so that none can go", _flow),
        emit=_emit,
        read={"LRN": _read},
    ),
)
