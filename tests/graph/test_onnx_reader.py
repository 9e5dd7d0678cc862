"""ONNX files as networks: the same numbers as ONNX Runtime's, one operator at a time and whole networks."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from networks import NETWORKS, calibrated
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from compressor.errors import ModelFileError
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.graph.onnx_reader import SUPPORTED, read_onnx

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


OPERATORS: dict[str, tuple[Callable[[], Any], str]] = {
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
    "Cast": (lambda: one("Cast", to=TensorProto.FLOAT), ""),
    "Add": (lambda: one("Add", weights(4, 1, 1)), ""),
    "Mul by a number": (lambda: one("Mul", scalar(0.3)), ""),
    "Sub": (lambda: one("Sub", weights(7)), ""),
    "Div": (lambda: one("Div", weights(1, 4, 1, 1)), ""),
    "Pow": (lambda: one("Pow", scalar(2)), ""),
    **{name: (lambda name=name: one(name), "") for name in ("Abs", "Erf", "Exp", "Neg")},
}  # fmt: skip


def read(model: onnx.ModelProto, folder: Path) -> Network:
    onnx.save(model, folder / "model.onnx")
    return read_onnx(folder / "model.onnx")


def agrees(network: Network, model: onnx.ModelProto, shape: tuple[int, ...], batch: int = 3) -> bool:
    x = np.random.default_rng(1).normal(size=(batch, *shape)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    with torch.no_grad():
        ours = network(torch.from_numpy(x)).numpy()
    return ours.shape == expected.shape and bool(np.allclose(ours, expected, atol=2e-5))


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator(name: str, tmp_path: Path) -> None:
    build, kinds = OPERATORS[name]
    model, shape = build()
    network = read(model, tmp_path)
    assert [type(leaf).__name__ for _, leaf in network.leaves()] == kinds.split()
    assert agrees(network, model, shape)
    assert network.shape(network.output_node) == tuple(network(torch.randn(2, *shape)).shape[1:])


def test_every_rule_is_tested() -> None:
    tested = {node.op_type for build, _ in OPERATORS.values() for node in build()[0].graph.node}
    of_bytes = {"GreaterOrEqual", "Where", "MatMulInteger", "MatMulIntegerToFloat", "QLinearConv", "DequantizeLinear"}
    elsewhere = {*of_bytes, "Concat", "Split", "Sum", "Log", "Sqrt", "Reciprocal", "ReduceMin"}
    assert tested | elsewhere >= SUPPORTED


def test_a_wrong_weight_is_noticed(tmp_path: Path) -> None:
    """Negative control for the comparison with ONNX Runtime."""
    model, shape = OPERATORS["Conv"][0]()
    network = read(model, tmp_path)
    with torch.no_grad():
        next(network.module.parameters()).view(-1)[0] += 0.01
    assert not agrees(network, model, shape)


def test_graphs_of_several_operators(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
        helper.make_node("Abs", ["a"], ["c"]),
        helper.make_node("Add", ["c", "one"], ["d"]),
        helper.make_node("Log", ["d"], ["e"]),
        helper.make_node("Sqrt", ["d"], ["f"]),
        helper.make_node("Reciprocal", ["d"], ["g"]),
        helper.make_node("ReduceMin", ["b", "axes"], ["h"], keepdims=1),
        helper.make_node("Sum", ["e", "f", "g", "h"], ["i"]),
        helper.make_node("Concat", ["i", "b"], ["y"], axis=-3),
    ]
    model = model_of(nodes, {"one": scalar(1), "axes": ints(2)}, IMAGE)
    assert agrees(read(model, tmp_path), model, IMAGE)


def test_sizes_computed_in_the_graph(tmp_path: Path) -> None:
    """``x.view(x.size(0), -1)`` as torch's older exporter writes it."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["u"]),
        helper.make_node("Concat", ["u", "rest"], ["sizes"], axis=0),
        helper.make_node("Reshape", ["x", "sizes"], ["y"]),
    ]
    constants = {"zero": np.array(0, dtype=np.int64), "axes": ints(0), "rest": ints(-1)}
    model = model_of(nodes, constants, IMAGE)
    network = read(model, tmp_path)
    assert [type(leaf) for _, leaf in network.leaves()] == [nn.Flatten]
    assert agrees(network, model, IMAGE)


def test_a_product_and_a_sum_are_one_layer(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "b"], ["y"])]
    model = model_of(nodes, {"w": weights(8, 5), "b": weights(5)}, (8,))
    network = read(model, tmp_path)
    assert [str(leaf) for _, leaf in network.leaves()] == ["Linear(in_features=8, out_features=5, bias=True)"]
    assert agrees(network, model, (8,))


def test_a_layer_used_twice_is_one_leaf(tmp_path: Path) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["z"]), helper.make_node("Conv", ["z", "w"], ["y"])]
    network = read(model_of(nodes, {"w": weights(4, 4, 1, 1)}, IMAGE), tmp_path)
    assert len(list(network.leaves())) == 1
    assert len(list(network.calls())) == 2


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_that_were_exported_here(name: str, tmp_path: Path) -> None:
    model, shape = calibrated(name), NETWORKS[name][1]
    (tmp_path / "model.onnx").write_bytes(to_onnx(capture(model, shape)))
    network = read_onnx(tmp_path / "model.onnx")
    x = torch.randn(3, *shape)
    assert torch.allclose(network(x), model(x), atol=1e-5)
    assert {path for path, leaf in network.leaves() if isinstance(leaf, nn.Conv2d)} <= dict(
        model.named_modules()
    ).keys()


@pytest.mark.parametrize("dynamo", [False, True])
def test_networks_that_torch_exported(dynamo: bool, tmp_path: Path) -> None:
    model, shape = calibrated("squeezenet"), NETWORKS["squeezenet"][1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = (torch.randn(1, *shape),)  # a batch of one, fixed in the file
        torch.onnx.export(model, example, tmp_path / "model.onnx", dynamo=dynamo, external_data=dynamo, verbose=False)
    network = read_onnx(tmp_path / "model.onnx")
    x = torch.randn(5, *shape)
    assert torch.allclose(network(x), model(x), atol=1e-5)
    network.train()(x).sum().backward()
    assert all(p.grad is not None for p in network.module.parameters())


# --- wrong and hostile files -------------------------------------------------------------------------------------


def refused(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        read_onnx(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


def external(folder: Path, location: str, **entries: int) -> Path:
    """A model whose weights are said to lie elsewhere."""
    model, _ = OPERATORS["Conv"][0]()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_external_weights_beside_the_model(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"1234" + weights(6, 2, 3, 3).tobytes())
    network = read_onnx(external(tmp_path, "w.bin", offset=4))
    assert torch.equal(network.leaf("conv").weight, torch.from_numpy(weights(6, 2, 3, 3)))


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "sub/../../w.bin", "", "link.bin"])
def test_external_weights_elsewhere_are_refused(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(10_000))
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    assert "outside" in refused(external(folder, location))


@pytest.mark.parametrize("entries", [{"offset": -1}, {"length": 2**40}, {"offset": 10**6}, {"offset": 2**70}])
def test_external_weights_out_of_bounds_are_refused(entries: dict[str, int], tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(1000))
    refused(external(tmp_path, "w.bin", **entries))


def _with_dims(dims: list[int]) -> onnx.ModelProto:
    model, _ = OPERATORS["Conv"][0]()
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(dims)
    return model


def _open_sizes() -> onnx.ModelProto:
    model, _ = OPERATORS["Relu"][0]()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    return model


def _two_inputs() -> onnx.ModelProto:
    model, _ = OPERATORS["Relu"][0]()
    model.graph.input.add().CopyFrom(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 3]))
    return model


def _function() -> onnx.ModelProto:
    model, _ = OPERATORS["Relu"][0]()
    model.functions.append(
        helper.make_function("own", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], model.opset_import)
    )
    return model


def _of(operator: str, *constants: Array | None, **attributes: Any) -> Callable[[], onnx.ModelProto]:
    return lambda: one(operator, *constants, **attributes)[0]


WRONG: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "an unknown operator": (_of("Hardmax"), r"operator Hardmax \(node 'hardmax'\): is not supported"),
    "an operator of somebody's": (_of("Relu", domain="com.example"), "is not supported"),
    "control flow": (lambda: model_of([helper.make_node("If", ["x"], ["y"])], {}, IMAGE), "operator If"),
    "functions": (_function, "operators of its own"),
    "two inputs": (_two_inputs, "2 inputs"),
    "open sizes": (_open_sizes, "must be fixed"),
    "a huge tensor": (lambda: _with_dims([2**40, 2**20]), "impossible sizes"),
    "a negative tensor": (lambda: _with_dims([-6, 2, 3, 3]), "impossible sizes"),
    "too few values": (lambda: _with_dims([6, 2, 3, 30]), "damaged"),
    "a weight that does not fit": (_of("Conv", weights(6, 3, 3, 3)), "do not take samples"),
    "a bias that does not fit": (_of("Conv", weights(6, 4, 3, 3), weights(5)), "bias has sizes"),
    "a reshape of the batch": (_of("Reshape", ints(-1, 7)), "between samples"),
    "a transposed batch": (_of("Transpose", perm=[1, 0, 2, 3]), "batch"),
    "a sum over the batch": (_of("ReduceSum", ints(0)), "batch"),
    "a missing input": (lambda: model_of([helper.make_node("Relu", ["z"], ["y"])], {}, IMAGE), "input 0"),
    "a constant output": (
        lambda: model_of([helper.make_node("Identity", ["c"], ["y"])], {"c": weights(3)}, IMAGE), "does not depend"),
    "a huge image": (_of("Relu", shape=(4, 2**20, 2**20)), "would hold more than"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_network_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    build, reason = WRONG[name]
    (tmp_path / "model.onnx").write_bytes(build().SerializeToString())
    with pytest.raises(ModelFileError, match=reason):
        read_onnx(tmp_path / "model.onnx")
    refused(tmp_path / "model.onnx")


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(share: float, tmp_path: Path) -> None:
    content = to_onnx(capture(calibrated("squeezenet"), (3, 32, 32)))
    (tmp_path / "model.onnx").write_bytes(content[: int(len(content) * share)])
    refused(tmp_path / "model.onnx")


@pytest.mark.parametrize("content", [b"hello world\n" * 9, bytes(1000), b"\x08\x07\x12\xff\xff\xff\xff\x0f"])
def test_nonsense_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    refused(tmp_path / "model.onnx")


def test_an_oversized_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "model.onnx").open("wb") as file:
        file.truncate(3 * 2**30)
    assert "GiB" in refused(tmp_path / "model.onnx")
