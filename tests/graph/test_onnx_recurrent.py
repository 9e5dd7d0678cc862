"""Recurrent ONNX operators: read at old and at current operator sets, and written again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from onnx_support import agrees, ints, model_of, node, read

from compressor.errors import ModelFileError
from compressor.export.emit import to_onnx
from compressor.measure.parity import numeric_parity

STEPS, FEATURES, HIDDEN = 5, 3, 4
SHAPE = (STEPS, FEATURES)
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FIRST_AND_LAST = 2
"""Outputs of a recurrent operator that have a sequence and a state."""


def model(operator: str, opset: int = 22, ways: int = 1, bias: bool = True, state: int = 0, **more: Any) -> Any:
    """Samples of ``SHAPE``, time first for the operator; the answers, or one of the last states, for each sample."""
    generator = np.random.default_rng(0)
    rows = GATES[operator] * HIDDEN
    constants = {
        name: generator.uniform(-0.7, 0.7, shape).astype(np.float32)
        for name, shape in (
            ("w", (ways, rows, FEATURES)), ("r", (ways, rows, HIDDEN)), *((("b", (ways, 2 * rows)),) if bias else ()),
        )
    }  # fmt: skip
    given = more.pop("inputs", ["b"] if bias else [])
    constants |= more.pop("constants", {})
    if operator == "GRU":
        more.setdefault("linear_before_reset", 1)
    if ways == FIRST_AND_LAST:
        more.setdefault("direction", "bidirectional")
    outputs = ["", "", ""]
    outputs[state] = "found"
    cell = helper.make_node(
        operator, ["steps", "w", "r", *given], outputs[: state + 1], name="cell", hidden_size=HIDDEN, **more
    )
    nodes = [node("Transpose", "x", to="steps", perm=[1, 0, 2]), cell]
    if state:
        nodes.append(node("Transpose", "found", perm=[1, 0, 2]))
    else:
        constants["flat"] = ints(0, 0, -1)
        nodes += [
            node("Transpose", "found", to="moved", perm=[0, 2, 1, 3]),
            node("Reshape", "moved", "flat", to="rows"),
            node("Transpose", "rows", perm=[1, 0, 2]),
        ]
    return model_of(nodes, constants, SHAPE, opset)


CASES: dict[str, dict[str, Any]] = {
    **{operator: {"operator": operator} for operator in GATES},
    **{f"{operator} of 7": {"operator": operator, "opset": 7} for operator in GATES},
    **{f"{operator} both ways": {"operator": operator, "ways": 2} for operator in GATES},
    **{f"{operator} backwards": {"operator": operator, "direction": "reverse"} for operator in GATES},
    **{f"last state of {operator}": {"operator": operator, "state": 1, "ways": 2} for operator in GATES},
    "cells of LSTM backwards": {"operator": "LSTM", "state": 2, "direction": "reverse"},
    "LSTM without bias": {"operator": "LSTM", "bias": False},
    "RNN of Relu": {"operator": "RNN", "activations": ["Relu", "Relu"], "ways": 2},
    "first states of zero": {
        "operator": "LSTM",
        "inputs": ["b", "", "zeros", "zeros"],
        "constants": {"zeros": np.zeros((1, 3, HIDDEN), np.float32)},
    },
}


@pytest.mark.parametrize("name", CASES)
def test_it_computes_what_the_file_does_and_is_written_again(name: str, tmp_path: Path) -> None:
    file = model(**CASES[name])
    if "zero" in name:  # states of three samples: the file runs on three alone
        file.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3
    network = read(file, tmp_path)
    assert agrees(network, file, SHAPE)
    assert numeric_parity(network, to_onnx(network), [torch.randn(4, *SHAPE)]).ok
    assert [tuple(p.shape) for p in network.module.parameters()]
    assert all(p.requires_grad for p in network.module.parameters())


def test_a_wrong_order_of_gates_is_noticed(tmp_path: Path) -> None:
    file = model("LSTM")
    network = read(file, tmp_path)
    with torch.no_grad():
        weight = next(p for p in network.module.parameters() if p.shape == (4 * HIDDEN, FEATURES))
        weight.copy_(torch.cat(weight.chunk(4)[::-1]))
    assert not agrees(network, file, SHAPE)


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "behind it": ("GRU", {"linear_before_reset": 0}),
    "clipped gates": ("LSTM", {"clip": 1.0}),
    "activations Sigmoid, Relu, Tanh": ("LSTM", {"activations": ["Sigmoid", "Relu", "Tanh"]}),
    "several lengths": ("RNN", {"inputs": ["b", "n"], "constants": {"n": np.array([5, 4], np.int32)}}),
    "first state other than zero": (
        "RNN", {"inputs": ["b", "", "h"], "constants": {"h": np.ones((1, 1, HIDDEN), np.float32)}}),
    "peepholes": (
        "LSTM", {"inputs": ["b", "", "", "", "p"], "constants": {"p": np.ones((1, 3 * HIDDEN), np.float32)}}),
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSED)
def test_what_torch_does_not_compute_is_refused(reason: str, tmp_path: Path) -> None:
    operator, more = REFUSED[reason]
    with pytest.raises(ModelFileError, match=rf"operator {operator} \(node 'cell'\): .*{reason}"):
        read(model(operator, **more), tmp_path)


def test_batch_first_is_refused(tmp_path: Path) -> None:
    file = model("RNN")
    (cell,) = [proto for proto in file.graph.node if proto.op_type == "RNN"]
    cell.input[0] = "x"
    with pytest.raises(ModelFileError, match="time first and the batch second"):
        read(file, tmp_path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
def test_as_torch_exports_it(kind: Any, tmp_path: Path) -> None:
    class Recurrent(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 6, (4, 3), padding=(0, 1))
            self.cell = kind(6, 5, num_layers=2, bidirectional=True, batch_first=True)
            self.head = torch.nn.Linear(10, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.head(self.cell(self.conv(x).squeeze(2).transpose(1, 2))[0])
            return found.mean(1)

    torch.manual_seed(0)
    module, path = Recurrent().eval(), tmp_path / "torch.onnx"
    x = torch.randn(2, 1, 4, 7)
    torch.onnx.export(module, (x,), path, dynamo=False, dynamic_axes={"x": {0: "n"}}, input_names=["x"])
    file = onnx.load(path)
    network = read(file, tmp_path)
    assert agrees(network, file, (1, 4, 7))
    assert torch.allclose(network(x), module(x), atol=1e-6)
