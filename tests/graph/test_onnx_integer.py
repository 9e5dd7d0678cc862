"""Operators on bytes: in the network that is read they are floats of the same values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from compressor.errors import ModelFileError
from compressor.export.emit import to_onnx
from compressor.graph.network import Network
from compressor.graph.onnx_reader import read_onnx
from compressor.measure.session import OnnxModel

Constants = dict[str, NDArray[Any]]
RNG = np.random.default_rng(0)
IMAGE = (4, 6, 6)


def node(operator: str, *inputs: str, to: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, list(inputs), [to], **attributes)


def model_of(nodes: list[onnx.NodeProto], constants: Constants, shape: tuple[int, ...]) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "graph", [x], [y], initializers)
    domains = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=9)


def floats(*shape: int) -> NDArray[np.float32]:
    return RNG.uniform(0.1, 1, shape).astype(np.float32)


SIGNS = {"zero": np.zeros((), np.float32), "u2": np.array(2, np.uint8), "u0": np.array(0, np.uint8)}
BYTES = [node("GreaterOrEqual", "x", "zero", to="g"), node("Where", "g", "u2", "u0", to="u")]
CONV: Constants = {
    **SIGNS,
    "one": np.array(1, np.float32),
    "z1": np.array(1, np.uint8),
    "w": RNG.integers(-9, 9, (5, 4, 3, 3), np.int8),
    "zw": np.array(0, np.int8),
    "step": np.array(2.7, np.float32),
    "z3": np.array(3, np.uint8),
    "b": RNG.integers(-50, 50, 5).astype(np.int32),
    "a": floats(5),
    "z5": RNG.integers(0, 9, 5).astype(np.uint8),
}
CONVOLVE = node("QLinearConv", "u", "one", "z1", "w", "one", "zw", "step", "z3", "b", to="q", pads=[1] * 4)
CASES: dict[str, tuple[list[onnx.NodeProto], Constants, tuple[int, ...]]] = {
    "signs per channel": (
        [node("GreaterOrEqual", "x", "t", to="g"), node("Where", "g", "p", "m")],
        {"t": floats(4, 1, 1), "p": np.array(1.5, np.float32), "m": np.array(-1, np.float32)}, IMAGE),
    "a convolution that rounds and saturates": (
        [*BYTES, CONVOLVE, node("DequantizeLinear", "q", "a", "z5", axis=1)], CONV, IMAGE),
    "whole numbers without a bias": (
        [*BYTES, node("QLinearConv", "u", "one", "z1", "w", "one", "zw", "one", "z3", to="q", strides=[2, 2]),
         node("DequantizeLinear", "q", "step", "z3")], CONV, IMAGE),
    "a product with a zero point": (
        [*BYTES, node("MatMulInteger", "u", "w", "z1", to="p"), node("Cast", "p", to="y", to_=TensorProto.FLOAT)],
        {**SIGNS, "w": RNG.integers(-9, 9, (8, 5), np.int8), "z1": np.array(1, np.uint8)}, (8,)),
    "a scaled product": (
        [node("GreaterOrEqual", "x", "zero", to="g"), node("Cast", "g", to="u", to_=TensorProto.UINT8),
         node("MatMulIntegerToFloat", "u", "w", "s", "a", "", "", "b", domain="com.microsoft")],
        {"zero": floats(8), "w": RNG.integers(-9, 9, (8, 5), np.int8), "s": np.array(0.5, np.float32), "a": floats(5),
         "b": floats(5)}, (8,)),
    "two products of the same bytes": (
        [*BYTES, node("MatMulInteger", "u", "w", to="p"), node("GreaterOrEqual", "p", "least", to="h"),
         node("Cast", "h", to="v", to_=TensorProto.UINT8), node("MatMulInteger", "v", "w2", to="q"),
         node("Cast", "q", to="y", to_=TensorProto.FLOAT)],
        {**SIGNS, "w": RNG.integers(-9, 9, (8, 5), np.int8), "least": RNG.integers(-9, 9, 5).astype(np.int32),
         "w2": RNG.integers(-9, 9, (5, 3), np.int8)}, (8,)),
}  # fmt: skip


def model(name: str) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    nodes, constants, shape = CASES[name]
    for proto in nodes:
        for attribute in proto.attribute:
            attribute.name = attribute.name.rstrip("_")
    return model_of(nodes, constants, shape), shape


def read(proto: onnx.ModelProto, folder: Path) -> Network:
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    return read_onnx(folder / "model.onnx")


@pytest.mark.parametrize("name", CASES)
def test_the_network_computes_what_onnx_runtime_does_and_can_be_written_again(name: str, tmp_path: Path) -> None:
    proto, shape = model(name)
    x = RNG.standard_normal((3, *shape)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})
    network = read(proto, tmp_path)
    with torch.no_grad():
        found = network(torch.from_numpy(x)).numpy()
    assert found.shape == expected.shape
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert np.allclose(OnnxModel(to_onnx(network)).run(x)[0], expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 0


def test_a_wrong_weight_is_noticed(tmp_path: Path) -> None:
    """Negative control."""
    proto, shape = model("a product with a zero point")
    network = read(proto, tmp_path)
    x = torch.ones(1, *shape)
    before = network(x).detach()
    with torch.no_grad():
        next(network.module.parameters())[0, 0] += 1
    assert not torch.allclose(network(x), before)


WRONG = {
    "weights with a zero point": (
        [*BYTES, CONVOLVE, node("DequantizeLinear", "q", "a", "z5", axis=1)], {**CONV, "zw": np.array(1, np.int8)},
        "weights with a zero point"),
    "another of the runtime's own": (
        [node("FusedMatMul", "x", "x", domain="com.microsoft")], {}, "FusedMatMul .* is not supported"),
    "a conversion of floats to bytes": ([node("Cast", "x", to_=TensorProto.UINT8)], {}, "a conversion to whole"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_read_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    nodes, constants, reason = WRONG[name]
    for proto in nodes:
        for attribute in proto.attribute:
            attribute.name = attribute.name.rstrip("_")
    with pytest.raises(ModelFileError, match=reason):
        read(model_of(nodes, constants, IMAGE), tmp_path)
