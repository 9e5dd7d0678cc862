"""Constants computed from constants: the same values as ONNX Runtime's, and bounds that hold for hostile files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from compressor.errors import ModelFileError
from compressor.graph.network import Network
from compressor.graph.onnx_in.folding.folder import FOLDABLE
from compressor.graph.onnx_reader import read_onnx

Array = NDArray[np.generic]


def ints(*values: int) -> Array:
    return np.array(values, dtype=np.int64)


def node(operator: str, *inputs: str, to: str, **attributes: object) -> onnx.NodeProto:
    """``to_`` is the attribute ``to``, beside the name of the output."""
    return helper.make_node(operator, list(inputs), [to], **{name.rstrip("_"): a for name, a in attributes.items()})


def model_of(nodes: list[onnx.NodeProto], constants: dict[str, Array], length: int) -> onnx.ModelProto:
    """``y = x + w`` for rows of ``length``, where the nodes make ``w`` of the constants."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", length])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph([*nodes, node("Add", "x", "w", to="y")], "graph", [x], [y], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def read(model: onnx.ModelProto, folder: Path) -> Network:
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return read_onnx(folder / "model.onnx")


def floats(*shape: int) -> Array:
    return np.random.default_rng(0).uniform(0.5, 2, shape).astype(np.float32)


A, B, M = floats(6), floats(6)[::-1].copy(), floats(2, 3)
FLAT = [node("Reshape", "m", "flat", to="w")]
CASES: dict[str, tuple[list[onnx.NodeProto], dict[str, Array]]] = {
    **{name: ([node(name, "a", "b", to="w")], {"a": A, "b": B}) for name in ("Add", "Sub", "Mul", "Div")},
    **{name: ([node(name, "a", to="w")], {"a": A}) for name in ("Abs", "Neg", "Sqrt", "Exp", "Reciprocal", "Identity")},
    "Mod of integers": (
        [node("Mod", "a", "b", to="q"), node("Cast", "q", to="w", to_=1)],
        {"a": ints(-7, 7, 7, -7, 6, 0), "b": ints(3, -3, 3, -3, 3, 3)}),
    "Mod with the sign of what is divided": (
        [node("Mod", "a", "b", to="w", fmod=1)], {"a": -A, "b": B}),
    "Div of integers": (
        [node("Div", "a", "b", to="q"), node("Cast", "q", to="w", to_=1)], {"a": ints(-7, 7), "b": ints(2, 2)}),
    **{
        name: ([node(name, "p", "b", to="q"), node("Cast", "q", to="w", to_=1)],
               {"p": np.array([[201]], np.uint8), "b": np.array([1, 6, 8], np.uint8)})
        for name in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")
    },
    **{name: ([node(name, "a", to="w")], {"a": A - 1})
       for name in ("Ceil", "Cos", "Erf", "Floor", "Relu", "Round", "Sigmoid", "Sign", "Sin", "Tanh")},
    "Log": ([node("Log", "a", to="w")], {"a": A}),
    **{name: ([node(name, "a", "b", "c", to="w")], {"a": A, "b": B, "c": A * B}) for name in ("Max", "Min", "Sum")},
    "Pow": ([node("Pow", "a", "b", to="w")], {"a": A, "b": B}),
    **{name: ([node(name, "a", "b", to="f"), node("Not", "f", to="n"), node("Cast", "n", to="w", to_=1)],
              {"a": A, "b": B}) for name in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")},
    **{name: ([node("Less", "a", "b", to="f"), node("Less", "a", "c", to="g"), node(name, "f", "g", to="h"),
               node("Cast", "h", to="w", to_=1)], {"a": A, "b": B, "c": A[::-1].copy() + 0.1})
       for name in ("And", "Or")},
    **{name: ([node(name, "a", "b", to="w", keepdims=0)], {"a": floats(6, 2, 2), "b": ints(1, -1)})
       for name in ("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum")},
    "ReduceMean of all": ([node("ReduceMean", "a", to="r"), node("Expand", "r", "n", to="w")], {"a": A, "n": ints(6)}),
    "Clip": ([node("Clip", "a", "v", "u", to="w")],
             {"a": A, "v": np.array(0.7, np.float32), "u": np.array(1.5, np.float32)}),
    "Clip from above": ([node("Clip", "a", "", "u", to="w")], {"a": A, "u": np.array(1.2, np.float32)}),
    "Flatten": ([node("Flatten", "m", to="f", axis=0), node("Squeeze", "f", to="w")], {"m": M}),
    "Range": ([node("Range", "a", "b", "c", to="r"), node("Cast", "r", to="w", to_=1)],
              {"a": np.array(7, np.int64), "b": np.array(-5, np.int64), "c": np.array(-2, np.int64)}),
    "DequantizeLinear": ([node("DequantizeLinear", "q", "s", "z", to="w", axis=0)],
                         {"q": np.arange(6, dtype=np.uint8), "s": A, "z": np.arange(6, dtype=np.uint8)[::-1].copy()}),
    "Slice backwards": ([node("Slice", "a", "s", "e", "", "steps", to="w")],
                        {"a": np.tile(A, 2), "s": ints(-1), "e": ints(-(2**62)), "steps": ints(-2)}),
    "BitShift": (
        [node("BitShift", "p", "b", to="q", direction="RIGHT"), node("Cast", "q", to="w", to_=1)],
        {"p": np.array([[201]], np.uint8), "b": np.array([0, 4, 1], np.uint8)}),
    "Where": ([node("Cast", "f", to="c", to_=9), node("Where", "c", "a", "b", to="w")],
              {"f": ints(0, 1, 1, 0, 1, 0), "a": A, "b": B}),
    "Concat": ([node("Concat", "a", "b", to="w", axis=0)], {"a": A[:2], "b": B[:4]}),
    "Gather": ([node("Gather", "a", "i", to="w", axis=0)], {"a": A, "i": ints(0, 5, -1, 2)}),
    "Gather of rows": ([node("Gather", "k", "i", to="w", axis=1)], {"k": M[:1], "i": ints(2, 0)}),
    "CumSum, ScatterElements, ConstantOfShape": (
        [node("ConstantOfShape", "n", to="z"), node("CumSum", "g", "axis", to="i"),
         node("ScatterElements", "z", "i", "v", to="w", axis=0)],
        {"n": ints(6), "g": np.array([1, 2, 2], np.int32), "axis": np.array(0, np.int32), "v": A[:3]}),
    "ConstantOfShape with a value": (
        [node("ConstantOfShape", "n", to="w", value=helper.make_tensor("v", TensorProto.FLOAT, [1], [0.5]))],
        {"n": ints(6)}),
    "Expand": ([node("Expand", "a", "n", to="m"), *FLAT], {"a": A[:3], "n": ints(2, 1), "flat": ints(-1)}),
    "EyeLike": ([node("EyeLike", "k", to="m"), *FLAT], {"k": M, "flat": ints(6)}),
    "MatMul": ([node("MatMul", "k", "l", to="m"), *FLAT], {"k": M, "l": floats(3, 3), "flat": ints(6)}),
    "Pad": ([node("Pad", "a", "p", "v", to="w")], {"a": A[:3], "p": ints(1, 2), "v": np.array(0.5, np.float32)}),
    "Pad of one axis": ([node("Pad", "k", "p", "", "axes", to="w")], {"k": M[:1], "p": ints(1, 2), "axes": ints(-1)}),
    "Tile": ([node("Tile", "a", "n", to="w")], {"a": A[:3], "n": ints(2)}),
    "Transpose": ([node("Transpose", "k", to="m"), *FLAT], {"k": M, "flat": ints(6)}),
    "Slice": ([node("Slice", "a", "s", "e", "", "steps", to="w")],
              {"a": A, "s": ints(-5), "e": ints(2**62), "steps": ints(2)}),
    "Split": ([helper.make_node("Split", ["a", "n"], ["v", "w"], axis=0)], {"a": A, "n": ints(2, 4)}),
    "Squeeze": ([node("Squeeze", "k", "axes", to="w")], {"k": M[:1], "axes": ints(0)}),
    "Squeeze of all": ([node("Squeeze", "k", to="w")], {"k": M[:1]}),
    "Unsqueeze": ([node("Unsqueeze", "a", "axes", to="w")], {"a": A, "axes": ints(-2)}),
    "Reshape keeping a size": ([node("Reshape", "k", "n", to="w")], {"k": M[:1], "n": ints(0, -1)}),
}  # fmt: skip


def case(name: str) -> onnx.ModelProto:
    nodes, constants = CASES[name]
    length = {"Div of integers": 2, "Gather": 4, "Gather of rows": 2, "Pad of one axis": 6, "Slice": 3, "Split": 4}.get(
        name, 6
    )
    small = ("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift", "Squeeze", "Squeeze of all", "Reshape keeping a size")
    return model_of(nodes, constants, 3 if name in small else length)


@pytest.mark.parametrize("name", CASES)
def test_a_constant_operator_gives_what_onnx_runtime_gives(name: str, tmp_path: Path) -> None:
    model = case(name)
    length = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    x = np.random.default_rng(1).standard_normal((2, length)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    found = read(model, tmp_path)(torch.from_numpy(x)).detach().numpy()
    assert found.shape == expected.shape
    assert np.array_equal(found, expected) or np.allclose(found, expected, rtol=1e-6, atol=2e-6)


def test_every_fold_is_tested() -> None:
    assert {proto.op_type for nodes, _ in CASES.values() for proto in nodes} >= FOLDABLE


def test_a_wrong_bit_is_noticed(tmp_path: Path) -> None:
    """Negative control."""
    nodes, constants = CASES["BitwiseAnd"]
    other = {**constants, "p": np.array([[200]], np.uint8)}
    right, wrong = (read(model_of(nodes, values, 3), tmp_path) for values in (constants, other))
    x = torch.zeros(2, 3)
    assert not torch.equal(right(x), wrong(x))


def test_folded_weights_can_be_trained_and_share_no_memory(tmp_path: Path) -> None:
    nodes = [node("Reshape", "a", "flat", to="v"), node("Mul", "x", "v", to="z")]
    model = model_of([], {"a": A, "flat": ints(-1), "w": A}, 6)
    model.graph.node.pop()
    model.graph.node.extend([*nodes, node("Add", "z", "a", to="y")])
    network = read(model, tmp_path)
    first, second = network.module.parameters()
    with torch.no_grad():
        first.add_(1)
    assert not torch.equal(first, second)


HOSTILE: dict[str, tuple[list[onnx.NodeProto], dict[str, Array], str]] = {
    "Tile": ([node("Tile", "a", "n", to="w")], {"a": A, "n": ints(2**40)}, "unfold to more than 2 GiB"),
    "Expand": ([node("Expand", "a", "n", to="w")], {"a": A, "n": ints(2**34, 6)}, "unfold to more than 2 GiB"),
    "Pad": ([node("Pad", "a", "n", to="w")], {"a": A, "n": ints(0, 2**40)}, "unfold to more than 2 GiB"),
    "ConstantOfShape": ([node("ConstantOfShape", "n", to="w")], {"n": ints(2**40)}, "unfold to more than 2 GiB"),
    "an outer sum": (
        [node("Reshape", "a", "n", to="c"), node("Add", "a", "c", to="w")],
        {"a": np.zeros(30_000, np.float32), "n": ints(-1, 1)}, "unfold to more than 2 GiB"),
    "many at once": (
        [node("Expand", "a", "n", to=name) for name in ("w", *"bcdefg")],
        {"a": A, "n": ints(2**24, 6)}, "unfold to more than 2 GiB"),
    "an outer product": (
        [node("ConstantOfShape", "n", to="a"), node("MatMul", "a", "a", to="w")],
        {"n": ints(2**13, 2**13)}, "multiplications"),
    "sizes that do not meet": ([node("Add", "a", "b", to="w")], {"a": A, "b": A[:4]}, "do not fit together"),
    "an index outside": ([node("Gather", "a", "i", to="w")], {"a": A, "i": ints(6)}, "do not fit together"),
    "more parts than sizes": (
        [helper.make_node("Split", ["a", "i"], ["v", "w"], axis=0)], {"a": A, "i": ints(6)}, "2 outputs"),
    "a type that is not read": ([node("Cast", "a", to="w", to_=20)], {"a": A}, "type number 20"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_does_not_fit_or_would_not_fit_into_memory_is_refused(name: str, tmp_path: Path) -> None:
    nodes, constants, reason = HOSTILE[name]
    with pytest.raises(ModelFileError, match=reason):
        read(model_of(nodes, constants, 6), tmp_path)
