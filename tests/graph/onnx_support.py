"""ONNX graphs for the tests of their reader: models of a few operators, and what ONNX Runtime makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from compressor.graph.network import Network
from compressor.graph.onnx_reader import read_onnx

IMAGE = (4, 7, 7)
Array = NDArray[Any]


def weights(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(0.2, 1.0, shape).astype(np.float32)


def model_of(
    nodes: list[onnx.NodeProto], constants: dict[str, Array], shape: tuple[int, ...], opset: int = 20
) -> onnx.ModelProto:
    """A model from ``x`` to ``y`` with these nodes."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "graph", [x], [y], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def node(operator: str, *inputs: str, to: str = "y", **attributes: Any) -> onnx.NodeProto:
    """A node with one result; an attribute that is called as an argument here has an underscore behind its name."""
    return helper.make_node(operator, list(inputs), [to], **{name.rstrip("_"): v for name, v in attributes.items()})


def one(
    operator: str, *constants: Array | None, shape: tuple[int, ...] = IMAGE, opset: int = 20, **attributes: Any
) -> Any:
    """A model of one operator on ``x`` and constants."""
    named = {f"c{place}": value for place, value in enumerate(constants) if value is not None}
    inputs = ["x", *(f"c{place}" if value is not None else "" for place, value in enumerate(constants))]
    node = helper.make_node(operator, inputs, ["y"], name=operator.lower(), **attributes)
    return model_of([node], named, shape, opset), shape


def ints(*values: int) -> Array:
    return np.array(values, dtype=np.int64)


def floats(*values: float) -> Array:
    return np.array(values, dtype=np.float32)


def scalar(value: float) -> Array:
    return np.array(value, dtype=np.float32)


def read(model: onnx.ModelProto, folder: Path) -> Network:
    onnx.save(model, folder / "model.onnx")
    return read_onnx(folder / "model.onnx")


def agrees(network: Network, model: onnx.ModelProto, shape: tuple[int, ...], batch: int = 3) -> bool:
    x = np.random.default_rng(1).normal(size=(batch, *shape)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    with torch.no_grad():
        ours = network(torch.from_numpy(x)).numpy()
    return ours.shape == expected.shape and bool(np.allclose(ours, expected, atol=2e-5))
