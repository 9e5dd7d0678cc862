"""Opening ONNX files, saying what is wrong with them, and scoring them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from compressor.errors import DataError, InputError
from compressor.measure.quality import onnx_quality, predict
from compressor.measure.session import OnnxModel
from compressor.task import usual_task


def identity(shape: list[object], kind: int = TensorProto.FLOAT, inputs: int = 1) -> bytes:
    """A file that sums its inputs."""
    names = [f"x{i}" for i in range(inputs)]
    values = [helper.make_tensor_value_info(name, kind, shape) for name in names]
    node = helper.make_node("Sum" if kind == TensorProto.FLOAT else "Identity", names, ["output"])
    result = helper.make_tensor_value_info("output", kind, shape)
    graph = helper.make_graph([node], "g", values, [result])
    model: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    ).SerializeToString()
    return model


def test_a_dynamic_file_takes_any_batch(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(identity(["batch", 3, 2]))
    model = OnnxModel(path)
    assert (model.input_shape, model.batch) == ((3, 2), None)
    for size in (1, 5):
        assert model.run(torch.ones(size, 3, 2))[0].shape == (size, 3, 2)
    with pytest.raises(InputError, match=r"takes values \(N, 3, 2\), not \(1, 2, 3\)"):
        model.run(np.zeros((1, 2, 3), np.float32))


def test_a_fixed_file_takes_its_own_batch_only() -> None:
    model = OnnxModel(identity([4, 3]))
    assert model.batch == 4
    with pytest.raises(InputError, match=r"takes values \(4, 3\), not \(1, 3\)"):
        model.run(np.zeros((1, 3), np.float32))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"this is no model", "cannot load it"),
        (identity(["batch", 3, 2])[:40], "cannot load it"),
        (identity(["batch", "height", 2]), r"dimension 1 of input 'x0' is open \(height\)"),
        (identity([]), "no batch dimension"),
        (identity(["batch", 2], TensorProto.STRING), "not supported"),
    ],
    ids=["empty", "text", "truncated", "open size", "scalar", "strings"],
)
def test_what_is_no_usable_file_is_said_in_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as caught:
        OnnxModel(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        OnnxModel(tmp_path / "nowhere.onnx")


def test_several_inputs_are_fed_in_order_and_not_one_alone() -> None:
    model = OnnxModel(identity(["batch", 3], inputs=2))
    assert len(model.run((np.zeros((1, 3), np.float32), torch.zeros(1, 3)))) == len(model.outputs)
    with pytest.raises(InputError, match="2 inputs"):
        model.run(np.zeros((1, 3), np.float32))


def test_numbers_that_the_type_of_an_input_cannot_hold_are_refused() -> None:
    model = OnnxModel(identity(["batch", 3], TensorProto.UINT8))
    assert model.run(np.full((1, 3), 7.0))[0].dtype == np.uint8
    for wrong in (0.5, -1.0, 300.0):
        with pytest.raises(InputError, match="whole numbers"):
            model.run(np.full((1, 3), wrong))


@pytest.mark.parametrize("batch", ["batch", 4])
def test_the_quality_of_a_file_is_what_its_answers_are_worth(batch: object) -> None:
    images = np.eye(3, dtype=np.float32)[[0, 1, 2, 2, 1, 0, 0, 1, 2, 0]]
    labels = torch.tensor([0, 1, 2, 2, 1, 0, 0, 0, 0, 0])
    model = identity([batch, 3])
    assert onnx_quality(model, [(torch.tensor(images), labels)], usual_task(), batch=3) == pytest.approx(0.8)
    assert np.array_equal(predict(model, images, 3), images)


def test_quality_of_nothing_is_an_error() -> None:
    with pytest.raises(DataError, match="at least one"):
        onnx_quality(identity(["batch", 3]), [], usual_task())
