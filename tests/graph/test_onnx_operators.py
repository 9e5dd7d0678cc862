"""Every ONNX operator that is read: the same numbers as ONNX Runtime's, the layers it becomes, and written again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper
from onnx_support import IMAGE, agrees, ints, model_of, node, one, read, scalar, weights

from compressor.export.emit import to_onnx
from compressor.graph.onnx_reader import SUPPORTED
from compressor.measure.parity import numeric_parity


def sampling(mode: str, border: str, opset: int, **more: Any) -> Any:
    """An image sampled at the points that two of its channels say."""
    nodes = [
        node("Slice", "x", "zero", "two", "one", to="channels"),
        node("Transpose", "channels", to="points", perm=[0, 2, 3, 1]),
        node("GridSample", "x", "points", mode=mode, padding_mode=border, **more),
    ]
    return model_of(nodes, {"zero": ints(0), "one": ints(1), "two": ints(2)}, IMAGE, opset), IMAGE


OPERATORS: dict[str, tuple[Callable[[], Any], str | None]] = {
    "Conv": (lambda: one("Conv", weights(6, 2, 3, 3), weights(6), group=2, pads=[1, 1, 1, 1]), "Conv2d"),
    "Conv with unlike pads": (
        lambda: one("Conv", weights(6, 4, 3, 3), pads=[0, 1, 2, 1], strides=[2, 2]), "ZeroPad2d Conv2d"),
    "Conv, same upper": (
        lambda: one("Conv", weights(6, 4, 2, 2), auto_pad="SAME_UPPER", strides=[2, 2]), "ZeroPad2d Conv2d"),
    "Conv in 1-d": (lambda: one("Conv", weights(6, 4, 3), dilations=[2], shape=(4, 9)), "Conv1d"),
    "Conv in 3-d": (lambda: one("Conv", weights(3, 2, 2, 2, 2), shape=(2, 4, 4, 4)), "Conv3d"),
    "ConvTranspose": (
        lambda: one("ConvTranspose", weights(4, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
        "ConvTranspose2d"),
    "Gemm": (lambda: one("Gemm", weights(5, 8), weights(5), transB=1, shape=(8,)), "Linear"),
    "Gemm, not turned": (lambda: one("Gemm", weights(8, 5), weights(5), shape=(8,)), "Linear"),
    "MatMul": (lambda: one("MatMul", weights(8, 5), shape=(3, 8)), "Linear"),
    "BatchNormalization": (
        lambda: one("BatchNormalization", weights(4), weights(4, seed=1), weights(4, seed=2), weights(4, seed=3)),
        "BatchNorm2d"),
    "InstanceNormalization": (lambda: one("InstanceNormalization", weights(4), weights(4)), "InstanceNorm2d"),
    "LayerNormalization": (lambda: one("LayerNormalization", weights(7), weights(7), axis=-1), "LayerNorm"),
    "PRelu": (lambda: one("PRelu", weights(4, 1, 1)), "PReLU"),
    "Relu": (lambda: one("Relu"), "ReLU"),
    "LeakyRelu": (lambda: one("LeakyRelu", alpha=0.3), "LeakyReLU"),
    "Elu": (lambda: one("Elu", alpha=0.5), "ELU"),
    "Selu": (lambda: one("Selu"), "SELU"),
    "Celu": (lambda: one("Celu", alpha=0.5), "CELU"),
    "Gelu": (lambda: one("Gelu", approximate="tanh"), "GELU"),
    "HardSigmoid": (lambda: one("HardSigmoid", alpha=1 / 6, beta=0.5), "Hardsigmoid"),
    "HardSwish": (lambda: one("HardSwish"), "Hardswish"),
    "Mish": (lambda: one("Mish"), "Mish"),
    "Sigmoid": (lambda: one("Sigmoid"), "Sigmoid"),
    "Softplus": (lambda: one("Softplus"), "Softplus"),
    "Softsign": (lambda: one("Softsign"), "Softsign"),
    "Tanh": (lambda: one("Tanh"), "Tanh"),
    "Softmax": (lambda: one("Softmax", axis=1), "Softmax"),
    "LogSoftmax": (lambda: one("LogSoftmax", axis=-1), "LogSoftmax"),
    "Clip to six": (lambda: one("Clip", scalar(0), scalar(6)), "ReLU6"),
    "Clip from below": (lambda: one("Clip", scalar(0)), "ReLU"),
    "Clip from above": (lambda: one("Clip", None, scalar(0.5)), ""),
    "Clip": (lambda: one("Clip", scalar(-0.5), scalar(0.5)), "Hardtanh"),
    "Clip by attributes": (lambda: one("Clip", min=0.0, max=6.0, opset=6), "ReLU6"),
    "MaxPool": (lambda: one("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), "MaxPool2d"),
    "MaxPool, rounding up": (lambda: one("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1), "MaxPool2d"),
    "MaxPool with unlike pads": (
        lambda: one("MaxPool", kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 1]), "ConstantPad2d MaxPool2d"),
    "AveragePool": (lambda: one("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), "AvgPool2d"),
    "AveragePool counting pads": (
        lambda: one("AveragePool", kernel_shape=[2, 2], pads=[0, 0, 1, 1], count_include_pad=1), "ZeroPad2d AvgPool2d"),
    "GlobalAveragePool": (lambda: one("GlobalAveragePool"), "AdaptiveAvgPool2d"),
    "GlobalMaxPool": (lambda: one("GlobalMaxPool"), "AdaptiveMaxPool2d"),
    "ReduceMean of space": (lambda: one("ReduceMean", ints(2, 3), keepdims=0), "AdaptiveAvgPool2d Flatten"),
    "ReduceMean by attribute": (lambda: one("ReduceMean", axes=[-1, -2], opset=13), "AdaptiveAvgPool2d"),
    "ReduceMean of channels": (lambda: one("ReduceMean", ints(1)), ""),
    "ReduceMax": (lambda: one("ReduceMax", ints(2)), ""),
    "ReduceSum": (lambda: one("ReduceSum", ints(2, 3), keepdims=0), ""),
    "LRN": (lambda: one("LRN", size=3, alpha=0.1), "LocalResponseNorm"),
    "Pad": (lambda: one("Pad", ints(0, 0, 1, 2, 0, 0, 3, 0), scalar(0.5)), "ConstantPad2d"),
    "Pad by attribute": (lambda: one("Pad", pads=[0, 0, 1, 1, 0, 0, 1, 1], opset=10), "ZeroPad2d"),
    "Flatten": (lambda: one("Flatten"), "Flatten"),
    "Reshape to rows": (lambda: one("Reshape", ints(0, -1)), "Flatten"),
    "Reshape to rows of known length": (lambda: one("Reshape", ints(-1, 196)), "Flatten"),
    "Reshape": (lambda: one("Reshape", ints(0, 2, 2, 49)), ""),
    "Squeeze": (lambda: one("Squeeze", ints(2, 3), shape=(4, 1, 1)), "Flatten"),
    "Unsqueeze": (lambda: one("Unsqueeze", ints(1, -1)), ""),
    "Transpose": (lambda: one("Transpose", perm=[0, 2, 3, 1]), ""),
    "Slice": (lambda: one("Slice", ints(1, 0), ints(3, 2**63 - 1), ints(1, 2), ints(1, 2)), ""),
    "Identity": (lambda: one("Identity"), ""),
    "Dropout": (lambda: one("Dropout"), "Dropout"),
    "Cast": (lambda: one("Cast", to=1), ""),
    "Add": (lambda: one("Add", weights(4, 1, 1)), ""),
    "Mul by a number": (lambda: one("Mul", scalar(0.3)), ""),
    "Sub": (lambda: one("Sub", weights(7)), ""),
    "Div": (lambda: one("Div", weights(1, 4, 1, 1)), ""),
    "Pow": (lambda: one("Pow", scalar(2)), ""),
    **{name: (lambda name=name: one(name), "") for name in ("Abs", "Erf", "Exp", "Neg")},
    **{name: (lambda name=name: one(name), "") for name in ("Ceil", "Cos", "Floor", "Round", "Sign", "Sin")},
    **{name: (lambda name=name: one(name), "") for name in ("Asinh", "Atan", "Cosh", "Sinh")},
    **{name: (lambda name=name: (model_of([node("Tanh", "x", to="t"), node(name, "t")], {}, IMAGE), IMAGE), "Tanh")
       for name in ("Acos", "Asin", "Atanh", "Tan")},
    "Acosh": (lambda: (model_of([node("Exp", "x", to="e"), node("Add", "e", "one", to="a"), node("Acosh", "a")],
                                {"one": scalar(1)}, IMAGE), IMAGE), ""),
    "Trilu": (lambda: one("Trilu", np.array(1)), ""),
    "Trilu, lower": (lambda: one("Trilu", upper=0), ""),
    "CumSum": (lambda: one("CumSum", np.array(-2)), ""),
    **{name: (lambda name=name: one(name, weights(4, 1, 1)), "") for name in ("Max", "Min", "Mean", "Sum")},
    **{f"{name} of numbers": (lambda name=name: one(name, scalar(0.3)), "") for name in ("Max", "Min", "Mean", "Sum")},
    "Sub from a number": (lambda: (model_of([node("Sub", "one", "x")], {"one": scalar(1)}, IMAGE), IMAGE), ""),
    "Pow of a number": (lambda: (model_of([node("Pow", "two", "x")], {"two": scalar(2)}, IMAGE), IMAGE), ""),
    "Pow of many": (lambda: one("Pow", np.round(weights(4, 1, 1) * 3)), ""),
    "HardSigmoid, the standard's own slope": (lambda: one("HardSigmoid"), "Hardtanh"),
    "HardSigmoid, any slope": (lambda: one("HardSigmoid", alpha=0.3, beta=0.4), "Hardtanh"),
    "Selu with its constants": (
        lambda: one("Selu", alpha=1.6732631921768188, gamma=1.0507010221481323), "SELU"),
    "Selu with others": (lambda: one("Selu", alpha=1.5, gamma=1.2), "ELU"),
    "ThresholdedRelu": (lambda: one("ThresholdedRelu", alpha=0.3), "Threshold"),
    "Shrink": (lambda: one("Shrink", lambd=0.4, bias=0.4), "Softshrink"),
    "Shrink hard": (lambda: one("Shrink", lambd=0.4), "Hardshrink"),
    "PRelu along the last axis": (lambda: one("PRelu", weights(7)), "ReLU"),
    "PRelu of one slope": (lambda: one("PRelu", weights(1)), "PReLU"),
    "PRelu of one sample": (lambda: one("PRelu", weights(1, 4, 1, 1)), "PReLU"),
    "Gemm with factors": (lambda: one("Gemm", weights(8, 5), weights(5), alpha=0.5, beta=2.0, shape=(8,)), "Linear"),
    "Gemm with one number": (lambda: one("Gemm", weights(8, 5), weights(1), shape=(8,)), "Linear"),
    "Gemm with a row": (lambda: one("Gemm", weights(8, 5), weights(1, 5), shape=(8,)), "Linear"),
    "Einsum": (lambda: one("Einsum", weights(8, 5), equation="nc,ck->nk", shape=(8,)), "Linear"),
    "MatMul of many": (lambda: one("MatMul", weights(4, 7, 3)), ""),
    "GroupNormalization": (
        lambda: one("GroupNormalization", weights(4), weights(4), num_groups=2, opset=21), "GroupNorm"),
    "MeanVarianceNormalization": (lambda: one("MeanVarianceNormalization", axes=[2, 3]), "InstanceNorm2d"),
    "LpNormalization": (lambda: one("LpNormalization", axis=1), ""),
    "LpPool": (lambda: one("LpPool", kernel_shape=[2, 2], strides=[2, 2]), "AvgPool2d"),
    "LpPool of magnitudes": (lambda: one("LpPool", kernel_shape=[2, 2], p=1, pads=[1, 0, 0, 1]), "ZeroPad2d AvgPool2d"),
    "GlobalLpPool": (lambda: one("GlobalLpPool"), ""),
    "AveragePool, same upper": (
        lambda: one("AveragePool", kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"), "ZeroPad2d AvgPool2d"),
    "AveragePool, same lower": (
        lambda: one("AveragePool", kernel_shape=[4, 4], strides=[3, 3], auto_pad="SAME_LOWER"), "ZeroPad2d AvgPool2d"),
    "ConvTranspose, same upper": (
        lambda: one("ConvTranspose", weights(4, 3, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER"), "ConvTranspose2d"),
    "ConvTranspose, same lower": (
        lambda: one("ConvTranspose", weights(4, 3, 3, 3), strides=[2, 2], auto_pad="SAME_LOWER"), "ConvTranspose2d"),
    "ConvTranspose to a size": (
        lambda: one("ConvTranspose", weights(4, 3, 3, 3), strides=[2, 2], output_shape=[14, 14]), "ConvTranspose2d"),
    "ConvTranspose with unlike pads": (
        lambda: one("ConvTranspose", weights(4, 3, 3, 3), strides=[2, 2], pads=[0, 1, 1, 2]), "ConvTranspose2d"),
    "Pad, reflecting": (lambda: one("Pad", ints(0, 0, 1, 2, 0, 0, 3, 0), mode="reflect"), "ReflectionPad2d"),
    "Pad, edges": (lambda: one("Pad", ints(0, 0, 1, 2, 0, 0, 3, 0), mode="edge"), "ReplicationPad2d"),
    "Pad, reflecting channels": (lambda: one("Pad", ints(0, 1, 0, 0, 0, 2, 0, 0), mode="reflect"), "ReflectionPad3d"),
    "Pad, reflecting rows": (
        lambda: one("Pad", ints(0, 2, 0, 1), mode="reflect", shape=(6,)), "ReflectionPad1d Flatten"),
    "Pad, wrapping": (lambda: one("Pad", ints(0, 0, 1, 2, 0, 0, 3, 0), mode="wrap"), "CircularPad2d"),
    "Pad of some axes": (lambda: one("Pad", ints(1, 2), None, ints(-1)), "ZeroPad2d"),
    "Pad of channels": (lambda: one("Pad", ints(0, 1, 0, 0, 0, 2, 0, 0)), ""),
    "Pad, cutting": (lambda: one("Pad", ints(0, 0, -1, 0, 0, 0, 0, 2)), "ZeroPad2d"),
    "DepthToSpace": (lambda: one("DepthToSpace", blocksize=2, shape=(8, 3, 5)), ""),
    "DepthToSpace, channels first": (
        lambda: one("DepthToSpace", blocksize=2, mode="CRD", shape=(8, 3, 5)), "PixelShuffle"),
    "SpaceToDepth": (lambda: one("SpaceToDepth", blocksize=2, shape=(3, 4, 6)), ""),
    "Gather, reversing channels": (lambda: one("Gather", ints(3, 2, 1, 0), axis=1), ""),
    "Gather of one": (lambda: one("Gather", np.array(-1, np.int64), axis=3), ""),
    "Gather of a block": (lambda: one("Gather", np.array([[0, 2], [1, 3]]), axis=1), ""),
    "Gather of a range": (lambda: one("Gather", ints(1, 2, 3), axis=1), ""),
    "Gather of any": (lambda: one("Gather", ints(0, 3, 3, -2), axis=2), ""),
    "Slice, reversing": (lambda: one("Slice", ints(-1), ints(-(2**63)), ints(1), ints(-1)), ""),
    "Slice, backwards": (lambda: one("Slice", ints(5), ints(0), ints(2), ints(-2)), ""),
    "Slice of all samples": (lambda: one("Slice", ints(0, 1), ints(2**63 - 1, 3), ints(0, 2)), ""),
    "Expand": (lambda: one("Expand", ints(1, 4, 5, 7), shape=(4, 1, 7)), ""),
    "Tile": (lambda: one("Tile", ints(1, 2, 3, 1), shape=(4, 1, 7)), ""),
    "ReduceL1": (lambda: one("ReduceL1", ints(2, 3), keepdims=0), ""),
    "ReduceL2": (lambda: one("ReduceL2", ints(1)), ""),
    "ReduceSumSquare": (lambda: one("ReduceSumSquare", ints(1)), ""),
    "ReduceLogSum": (lambda: (model_of(
        [node("Abs", "x", to="a"), node("ReduceLogSum", "a", "i")], {"i": ints(1)}, IMAGE), IMAGE), ""),
    "ReduceLogSumExp": (lambda: one("ReduceLogSumExp", ints(-1)), ""),
    "ReduceProd": (lambda: one("ReduceProd", ints(1, 3), keepdims=0), ""),
    "ReduceMax of nothing": (lambda: one("ReduceMax", noop_with_empty_axes=1), ""),
    **{
        name: (lambda name=name: (model_of(
            [node(name, "x", "c", to="a"), node("Not", "a", to="b"), node("Where", "b", "x", "c")],
            {"c": weights(4, 1, 1)}, IMAGE), IMAGE), "")
        for name in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal")
    },
    **{
        name: (lambda name=name: (model_of(
            [node("Greater", "x", "c", to="a"), node("Less", "x", "d", to="b"), node(name, "a", "b", to="e"),
             node("Cast", "e", to="y", to_=1)], {"c": scalar(-0.5), "d": scalar(0.5)}, IMAGE), IMAGE), "")
        for name in ("And", "Or", "Xor")
    },
    "Where of a number and a value": (lambda: (model_of(
        [node("Greater", "x", "c", to="a"), node("Where", "a", "c", "x", to="b"), node("Where", "a", "b", "c")],
        {"c": scalar(0.2)}, IMAGE), IMAGE), ""),
    "TopK": (lambda: (model_of(
        [helper.make_node("TopK", ["x", "k"], ["y", "i"], axis=2, largest=0)], {"k": ints(3)}, IMAGE), IMAGE), ""),
    "TopK by attribute": (lambda: (model_of(
        [helper.make_node("TopK", ["x"], ["y", "i"], axis=1, k=2)], {}, IMAGE, opset=9), IMAGE), ""),
    "GatherElements of computed places": (lambda: (model_of(
        [helper.make_node("TopK", ["x", "k"], ["v", "i"], axis=-1), node("Abs", "x", to="a"),
         node("GatherElements", "a", "i", axis=3)], {"k": ints(2)}, IMAGE), IMAGE), ""),
    **{
        name: (lambda name=name: (model_of(
            [node(name, "x", to="i", axis=1), node("GatherElements", "x", "i", to="v", axis=1),
             node("Cast", "i", to="f", to_=1), node("Add", "f", "v")], {}, IMAGE), IMAGE), "")
        for name in ("ArgMax", "ArgMin")
    },
    "ArgMax of 1, without its dimension": (lambda: (model_of(
        [node("ArgMax", "x", to="i", axis=2, keepdims=0), node("Cast", "i", to_=1)], {}, IMAGE, opset=7), IMAGE), ""),
    "GridSample": (lambda: sampling("linear", "zeros", 20), ""),
    "GridSample, nearest": (lambda: sampling("nearest", "border", 20), ""),
    "GridSample of 16": (lambda: sampling("bilinear", "reflection", 16, align_corners=1), ""),
    "Col2Im": (lambda: one("Col2Im", ints(5, 4), ints(2, 2), shape=(8, 18), pads=[1, 0, 1, 0]), ""),
    "Mod": (lambda: one("Mod", scalar(0.7), fmod=1), ""),
    "Cast to flags": (lambda: (model_of(
        [node("Floor", "x", to="f"), node("Cast", "f", to="a", to_=9), node("Cast", "a", to="y", to_=1)],
        {}, IMAGE), IMAGE), ""),
}  # fmt: skip

ELSEWHERE = {
    "GRU", "LSTM", "RNN", "Split", "Log", "Sqrt", "Reciprocal", "ReduceMin", "Concat", "Resize", "Upsample", "GatherND",
}  # fmt: skip
"""Tested in files of their own."""
OF_BYTES = {
    "DequantizeLinear", "MatMulInteger", "MatMulIntegerToFloat", "QGemm", "QLinearAdd", "QLinearAveragePool",
    "QLinearConcat", "QLinearConv", "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearMatMul", "QLinearMul",
    "QLinearSigmoid", "QLinearSoftmax", "QuantizeLinear",
}  # fmt: skip
NOT_IN_THIS_RUNTIME = {"CastLike", "FastGelu", "QuickGelu", "RMSNormalization", "Swish"}
"""Of newer operator sets, or of ONNX Runtime's own domain."""


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator(name: str, tmp_path: Path) -> None:
    build, kinds = OPERATORS[name]
    model, shape = build()
    network = read(model, tmp_path)
    if kinds is not None:
        assert [type(leaf).__name__ for _, leaf in network.leaves()] == kinds.split()
    assert agrees(network, model, shape)
    assert network.shape(network.output_nodes[0]) == tuple(network(torch.randn(2, *shape)).shape[1:])
    assert numeric_parity(network, to_onnx(network), [torch.randn(3, *shape)]).ok


def test_every_rule_is_tested() -> None:
    tested = {node.op_type for build, _ in OPERATORS.values() for node in build()[0].graph.node}
    assert tested | ELSEWHERE | OF_BYTES | NOT_IN_THIS_RUNTIME >= SUPPORTED
