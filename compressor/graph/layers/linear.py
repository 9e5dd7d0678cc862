"""Linear layers: rows times a matrix, plus a bias."""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor, fx, nn

from compressor.errors import CaptureError
from compressor.graph.flow.flow import Flow
from compressor.graph.flow.treatments import ANOTHER_DIMENSION, Treatment, vector_along
from compressor.graph.flow.values import TRACE_BATCH, along
from compressor.graph.layers.affine import scaled_rows
from compressor.graph.layers.channels import pick, put
from compressor.graph.layers.convolving import emitted_parameters, read_bias
from compressor.graph.layers.kind import Integers, LayerKind
from compressor.graph.layers.windows import expect
from compressor.graph.leaf import OnnxValue, Shape
from compressor.graph.network import Network
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_out.builder import GraphBuilder, Operand
from compressor.graph.traced.call import Call
from compressor.graph.traced.layer import Layer, trained, weight_sizes, with_tensors

_TENSORS: Final = ("weight", "bias")


def _captured(call: Call) -> Layer | None:
    if not trained(call, *_TENSORS) or len(weight_sizes(call)) != 2:
        return None
    outputs, inputs = weight_sizes(call)
    return with_tensors(call, lambda: nn.Linear(inputs, outputs, bias=call.has("bias")), *_TENSORS)


def _shape(layer: nn.Linear, shape: Shape) -> Shape:
    expect(bool(shape) and shape[-1] == layer.in_features, layer, shape)
    return (*shape[:-1], layer.out_features)


def _macs(layer: nn.Linear, shape: Shape) -> int:
    return math.prod(shape[:-1]) * layer.weight.numel()


# --- channels --------------------------------------------------------------------------------------------------------


def _flow(flow: Flow, node: fx.Node, layer: nn.Linear, x: Tensor) -> Tensor:
    """Every output is made of all inputs, which lie along the last dimension."""
    path = str(node.target)
    vector = vector_along(flow, node, x, -1)
    if vector is None:
        flow.block(path, ANOTHER_DIMENSION)
        return x.narrow(-1, 0, 1).expand(*x.shape[:-1], layer.out_features)
    flow.take(path, vector)
    return along(flow.make(path, layer.out_features), -1, (TRACE_BATCH, *Network.shape(node)))


def _keep_outputs(layer: nn.Linear, index: Tensor) -> None:
    pick(layer, _TENSORS, index)
    layer.out_features = len(index)


def _keep_inputs(layer: nn.Linear, index: Tensor, share: Tensor) -> None:
    put(layer, "weight", layer.weight.index_select(1, index) * share)
    layer.in_features = len(index)


# --- writing ---------------------------------------------------------------------------------------------------------


def _emit(b: GraphBuilder, layer: nn.Linear, x: Operand) -> OnnxValue:
    if x.rank == 2:
        return b.op("Gemm", [x.value, *emitted_parameters(b, layer.weight, layer.bias)], transB=1)
    product = b.op("MatMul", [x.value, b.weight(layer.weight.t())])
    return product if layer.bias is None else b.op("Add", [product, b.weight(layer.bias)])


def _fold(layer: nn.Linear, scale: Tensor, shift: Tensor, rank: int) -> nn.Module | None:
    return scaled_rows(layer, scale, shift) if rank == 1 else None


# --- reading ---------------------------------------------------------------------------------------------------------


def _read_gemm(node: Node) -> fx.Node:
    """α·x·W + β·b; the factors go into the numbers."""
    alpha, beta = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
    if node.attributes.get("transA") or len(node.whole()) != 2:
        raise CaptureError("only a product of rows with a matrix, plus a bias, is supported")
    weight, bias = node.constant(1), node.constant(2) if node.given(2) else None
    columns = weight.shape[0 if node.attributes.get("transB") else 1]
    names = list(node.inputs[:3])
    if alpha != 1:
        names[1] = node.derived(1, weight * alpha, f"times {alpha:g}")
    if bias is not None and (beta != 1 or bias.numel() != columns):
        if bias.numel() not in (1, columns):
            raise CaptureError(f"a bias of sizes {tuple(bias.shape)} for {columns} columns")
        names[2] = node.derived(2, (bias * beta).reshape(-1).expand(columns), f"times {beta:g}")
    node = node.replaced(names)
    return _read(node, node.constant(1), bool(node.attributes.get("transB")), read_bias(node))


def read_linear(node: Node, *, transposed: bool, bias: bool) -> fx.Node:
    """A linear layer: input 1 its weights, as torch has them where ``transposed``, input 2 its bias."""
    return _read(node, node.constant(1), transposed, {"bias": 2} if bias else {})


def _read(node: Node, weight: Tensor, transposed: bool, bias: dict[str, int]) -> fx.Node:
    if weight.dim() != 2:
        raise CaptureError(f"its weights have sizes {tuple(weight.shape)}, no matrix")
    outputs, inputs = weight.shape if transposed else weight.shape[::-1]
    with torch.device("meta"):
        layer = nn.Linear(inputs, outputs, bias=bool(bias))
    if transposed:
        return node.leaf(layer, node.tensor(), weight=1, **bias)
    state, turned = node.state, f"{node.inputs[1]}^T"
    if turned not in state.constants:
        state.constants[turned] = weight.t().contiguous()
    if bias and node.constant(bias["bias"]).numel() != outputs:
        raise CaptureError("a bias that is not one number per column")
    names = {"weight": turned, **({"bias": node.inputs[bias["bias"]]} if bias else {})}
    return state.leaf((node.name, node.operator), layer, [node.tensor()], names)


def _read_product(node: Node) -> fx.Node:
    """With a matrix of weights, a linear layer; of other tensors, torch's product."""
    if not node.is_constant(1) or node.constant(1).dim() != 2 or node.is_constant(0):
        values = [at for at in (0, 1) if not node.is_constant(at)]
        if any(node.batch_axis(at) > len(node.sample(at)) - 2 for at in values):
            raise CaptureError("a product along the batch")
        factors: list[Any] = [node.state.operand(name, tensor=True) for name in node.inputs]
        return node.apply(torch.matmul, *factors)
    weight = node.constant(1)
    if node.batch_axis() == len(node.sample()):
        raise CaptureError("a product along the batch")
    if (total := _sum_after(node, weight.shape[-1])) is None:
        return _read(node, weight, False, {})
    joined = Node(node.operator, node.name, [*node.inputs, total[0]], node.outputs, node.attributes, node.state)
    result = _read(joined, weight, False, {"bias": 2})
    node.state.nodes[total[1]] = result
    node.state.place_as(total[1], node.inputs[0])
    return result


def _sum_after(node: Node, columns: int) -> tuple[str, str] | None:
    """The bias that is added to the product and to nothing else, and the name of the sum."""
    state, output = node.state, node.outputs[0]
    if state.uses.get(output) != 1:
        return None
    for proto in state.readers.get(output, ()):
        bias = next((name for name in proto.input if name != output), "")
        tensor = state.constants.get(bias)
        if proto.op_type == "Add" and tensor is not None and tuple(tensor.shape) in ((columns,), (1, columns)):
            return bias, proto.output[0]
    return None


KINDS = (
    LayerKind(
        (nn.Linear,),
        captured={"aten.linear": _captured},
        shape=_shape,
        macs=_macs,
        treatment=Treatment("makes channels of all that it takes", _flow, is_producer=True, channel_dim=-1),
        emit=_emit,
        read={"Gemm": _read_gemm, "MatMul": _read_product},
        tensors=_TENSORS,
        keep_outputs=_keep_outputs,
        keep_inputs=_keep_inputs,
        fold_affine=_fold,
        integers=Integers.WEIGHS,
    ),
)
