"""ONNX files as networks: the same numbers as ONNX Runtime's, one operator at a time and whole networks."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from networks import NETWORKS, calibrated
from onnx import TensorProto, helper
from onnx_support import IMAGE, Array, agrees, ints, model_of, one, read, scalar, weights
from torch import nn

from compressor.errors import ModelFileError
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.onnx_reader import read_onnx


def test_a_wrong_weight_is_noticed(tmp_path: Path) -> None:
    """Negative control for the comparison with ONNX Runtime."""
    model, shape = one("Conv", weights(6, 2, 3, 3), weights(6), group=2, pads=[1, 1, 1, 1])
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
    model, _ = one("Conv", weights(6, 2, 3, 3), weights(6), group=2, pads=[1, 1, 1, 1])
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
    model, _ = one("Conv", weights(6, 2, 3, 3), weights(6), group=2, pads=[1, 1, 1, 1])
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(dims)
    return model


def _open_sizes() -> onnx.ModelProto:
    model, _ = one("Relu")
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    return model


def _two_inputs() -> onnx.ModelProto:
    model, _ = one("Relu")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    model.graph.input.add().CopyFrom(helper.make_tensor_value_info("z", TensorProto.FLOAT, [4, 3]))
    return model


def _open_and_branching() -> onnx.ModelProto:
    model = _open_sizes()
    model.graph.node.append(helper.make_node("If", ["y"], ["z"]))
    return model


def _function() -> onnx.ModelProto:
    model, _ = one("Relu")
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
    "control flow, whatever the sizes": (_open_and_branching, r"operator If .* computes the same for every sample"),
    "scales of the batch at hand": (_of("DynamicQuantizeLinear"), "samples depend on each other; quantize the float"),
    "functions": (_function, "operators of its own"),
    "inputs of different batches": (_two_inputs, "batches of 2 and 4"),
    "open sizes": (_open_sizes, r"open sizes \(batch, 4, height, 7\); .* --input 4x224x7"),
    "a huge tensor": (lambda: _with_dims([2**40, 2**20]), "impossible sizes"),
    "a negative tensor": (lambda: _with_dims([-6, 2, 3, 3]), "impossible sizes"),
    "too few values": (lambda: _with_dims([6, 2, 3, 30]), "damaged"),
    "a weight that does not fit": (_of("Conv", weights(6, 3, 3, 3)), "do not take samples"),
    "a bias that does not fit": (_of("Conv", weights(6, 4, 3, 3), weights(5)), "bias has sizes"),
    "a reshape of the batch": (_of("Reshape", ints(-1, 7)), "its output 'y' has the batch joined"),
    "a reshape of half a batch": (_of("Reshape", ints(-1, 8)), "between samples"),
    "a sum over the batch": (_of("ReduceSum", ints(0)), "batch"),
    "a missing input": (
        lambda: model_of([helper.make_node("Relu", ["z"], ["y"])], {}, IMAGE), "its input 'z' is made nowhere"),
    "a constant output": (
        lambda: model_of([helper.make_node("Identity", ["c"], ["y"])], {"c": weights(3)}, IMAGE), "does not depend"),
    "an answer of places": (_of("ArgMax", axis=1), "holds places or flags, .* cut the file at the scores"),
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
