"""ONNX operators with weights: convolutions, products, normalisations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from compressor.errors import CaptureError
from compressor.graph.onnx_in.node import Node, rule
from compressor.graph.onnx_in.space import padded, symmetric_pads

_CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, Callable[..., nn.Module]] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_BATCH_NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}
_INSTANCE_NORMS = {2: nn.InstanceNorm1d, 3: nn.InstanceNorm2d, 4: nn.InstanceNorm3d}


def _bias(node: Node, position: int = 2) -> dict[str, int]:
    return {"bias": position} if node.given(position) else {}


@rule("Conv")
def convolution(node: Node) -> fx.Node:
    outputs, inputs, *kernel = node.constant(1).shape
    count, groups = len(kernel), node.attributes.get("group", 1)
    if count not in _CONVOLUTIONS or len(node.sample()) != count + 1 or node.sample()[0] != inputs * groups:
        raise CaptureError(f"weights of sizes {tuple(node.constant(1).shape)} do not take samples of {node.sample()}")
    strides = node.attributes.get("strides", [1] * count)
    dilations = node.attributes.get("dilations", [1] * count)
    value, padding = padded(node, kernel, strides, dilations)
    with torch.device("meta"):
        layer = _CONVOLUTIONS[count](
            inputs * groups, outputs, tuple(kernel), tuple(strides), padding, tuple(dilations), groups, node.given(2)
        )
    return node.leaf(layer, value, weight=1, **_bias(node))


@rule("ConvTranspose")
def transposed_convolution(node: Node) -> fx.Node:
    inputs, outputs, *kernel = node.constant(1).shape
    count, groups = len(kernel), node.attributes.get("group", 1)
    padding = symmetric_pads(node, count)
    if count not in _TRANSPOSED or padding is None or "output_shape" in node.attributes:
        raise CaptureError("padding that differs between the sides, or is given by the size of the result")
    settings: dict[str, Any] = {
        "stride": tuple(node.attributes.get("strides", [1] * count)),
        "padding": padding,
        "output_padding": tuple(node.attributes.get("output_padding", [0] * count)),
        "groups": groups,
        "bias": node.given(2),
        "dilation": tuple(node.attributes.get("dilations", [1] * count)),
    }
    with torch.device("meta"):
        layer = _TRANSPOSED[count](inputs, outputs * groups, tuple(kernel), **settings)
    return node.leaf(layer, node.tensor(), weight=1, **_bias(node))


@rule("Gemm")
def gemm(node: Node) -> fx.Node:
    alpha, beta = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
    if node.attributes.get("transA") or (alpha, beta) != (1.0, 1.0) or len(node.sample()) != 1:
        raise CaptureError("only a product of rows with a matrix, plus a bias, is supported")
    return _linear(node, node.constant(1), bool(node.attributes.get("transB")), _bias(node))


def linear(node: Node, *, transposed: bool, bias: bool) -> fx.Node:
    """A linear layer: input 1 its weights, as torch has them where ``transposed``, input 2 its bias."""
    return _linear(node, node.constant(1), transposed, {"bias": 2} if bias else {})


def _linear(node: Node, weight: Tensor, transposed: bool, bias: dict[str, int]) -> fx.Node:
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


@rule("MatMul")
def product(node: Node) -> fx.Node:
    if not node.is_constant(1):
        return node.apply(torch.matmul, node.tensor(0), node.tensor(1))
    weight = node.constant(1)
    if (total := _sum_after(node, weight.shape[-1])) is None:
        return _linear(node, weight, False, {})
    joined = Node(node.operator, node.name, [*node.inputs, total[0]], node.outputs, node.attributes, node.state)
    result = _linear(joined, weight, False, {"bias": 2})
    node.state.nodes[total[1]] = result
    return result


def _sum_after(node: Node, columns: int) -> tuple[str, str] | None:
    """The bias that is added to the product and to nothing else, and the name of the sum."""
    state, output = node.state, node.outputs[0]
    if state.uses.get(output) != 1:
        return None
    for proto in state.readers.get(output, ()):
        bias = next((name for name in proto.input if name != output), "")
        tensor = state.constants.get(bias)
        if proto.op_type == "Add" and tensor is not None and tuple(tensor.shape) == (columns,):
            return bias, proto.output[0]
    return None


@rule("BatchNormalization")
def batch_norm(node: Node) -> fx.Node:
    if node.attributes.get("training_mode") or len(node.sample()) not in _BATCH_NORMS:
        raise CaptureError("a normalisation in training mode, or of samples of this rank")
    kind = _BATCH_NORMS[len(node.sample())]
    momentum = 1 - node.attributes.get("momentum", 0.9)
    layer = kind(node.constant(1).numel(), eps=node.attributes.get("epsilon", 1e-5), momentum=round(momentum, 7))
    return node.leaf(layer, node.tensor(), weight=1, bias=2, running_mean=3, running_var=4)


@rule("InstanceNormalization")
def instance_norm(node: Node) -> fx.Node:
    kind = _INSTANCE_NORMS.get(len(node.sample()))
    if kind is None:
        raise CaptureError(f"a normalisation of samples of {node.sample()}")
    layer = kind(node.constant(1).numel(), eps=node.attributes.get("epsilon", 1e-5), affine=True)
    return node.leaf(layer, node.tensor(), weight=1, bias=2)


@rule("LayerNormalization")
def layer_norm(node: Node) -> fx.Node:
    axis = node.axis(node.attributes.get("axis", -1))
    shape = node.sample()[axis - 1 :]
    layer = nn.LayerNorm(shape, eps=node.attributes.get("epsilon", 1e-5), bias=node.given(2))
    return node.leaf(layer, node.tensor(), weight=1, **_bias(node))


@rule("PRelu")
def prelu(node: Node) -> fx.Node:
    slope = node.constant(1)
    if slope.numel() != 1 and slope.numel() != max(slope.shape[-len(node.sample()) :][:1], default=0):
        raise CaptureError(f"slopes of sizes {tuple(slope.shape)}, not one per channel")
    if slope.numel() not in (1, math.prod(node.sample()[:1])):
        raise CaptureError(f"{slope.numel()} slopes for {node.sample()[0]} channels")
    return node.leaf(nn.PReLU(slope.numel()), node.tensor(), weight=1)
