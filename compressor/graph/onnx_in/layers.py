"""ONNX operators with weights: convolutions and products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from compressor.errors import CaptureError
from compressor.graph.onnx_in.space import padded
from compressor.graph.onnx_node.node import Node, rule

_CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, Callable[..., nn.Module]] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


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
    """Padding is what is cut from the result; what a layer cannot cut itself is cut behind it."""
    inputs, outputs, *kernel = node.constant(1).shape
    count, groups = len(kernel), node.attributes.get("group", 1)
    if count not in _TRANSPOSED or len(node.sample()) != count + 1 or node.sample()[0] != inputs:
        raise CaptureError(f"weights of sizes {tuple(node.constant(1).shape)} do not take samples of {node.sample()}")
    strides = list(node.attributes.get("strides", [1] * count))
    dilations = list(node.attributes.get("dilations", [1] * count))
    extra = list(node.attributes.get("output_padding", [0] * count))
    full = [
        stride * (size - 1) + dilation * (width - 1) + 1 + more
        for size, stride, dilation, width, more in zip(
            node.sample()[1:], strides, dilations, kernel, extra, strict=True
        )
    ]
    before, after = _cut_sides(node, strides, full)
    if min(before + after) < 0:
        raise CaptureError("a result that is larger than what its windows reach")
    padding = before if before == after else [0] * count
    with torch.device("meta"):
        layer = _TRANSPOSED[count](
            inputs,
            outputs * groups,
            tuple(kernel),
            tuple(strides),
            tuple(padding),
            tuple(extra),
            groups,
            node.given(2),
            tuple(dilations),
        )
    result = node.leaf(layer, node.tensor(), weight=1, **_bias(node))
    for axis, (first, last, size) in enumerate(zip(before, after, full, strict=True), start=2):
        if before != after and (first or last):
            result = node.apply(torch.ops.aten.slice.Tensor, result, axis, first, size - last, 1)
    return result


def _cut_sides(node: Node, strides: Sequence[int], full: Sequence[int]) -> tuple[list[int], list[int]]:
    """How much of the full result is cut before and after, per dimension of space."""
    count = len(full)
    mode, wanted = node.attributes.get("auto_pad", b"NOTSET"), node.attributes.get("output_shape")
    if wanted is None and mode in (b"NOTSET", b"", b"VALID"):
        pads = list(node.attributes.get("pads", [0] * 2 * count))
        return pads[:count], pads[count:]
    if wanted is None:
        wanted = [size * stride for size, stride in zip(node.sample()[1:], strides, strict=True)]
    totals = [size - want for size, want in zip(full, list(wanted)[-count:], strict=True)]
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return (small, large) if mode == b"SAME_UPPER" else (large, small)


@rule("Gemm")
def gemm(node: Node) -> fx.Node:
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
        return _linear(node, weight, False, {})
    joined = Node(node.operator, node.name, [*node.inputs, total[0]], node.outputs, node.attributes, node.state)
    result = _linear(joined, weight, False, {"bias": 2})
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
