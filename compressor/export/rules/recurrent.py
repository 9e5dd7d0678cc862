"""LSTM, GRU and simple recurrent layers, layer by layer and in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from compressor.errors import ExportError
from compressor.export.rules.call import CallSite, RepeatedConstant, function
from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_out.builder import GraphBuilder


@dataclass(frozen=True)
class _Cell:
    """ONNX's operator, where it has torch's gates (i, f, g, o and r, z, n), and its attributes."""

    op_type: str
    gates: tuple[int, ...]
    states: int = 1
    activation: str | None = None


_CELLS: Final[Mapping[str, _Cell]] = {
    "lstm": _Cell("LSTM", (0, 3, 1, 2), states=2),
    "gru": _Cell("GRU", (1, 0, 2)),
    "rnn_tanh": _Cell("RNN", (0,), activation="Tanh"),
    "rnn_relu": _Cell("RNN", (0,), activation="Relu"),
}


@function(*_CELLS)
def recurrent(b: GraphBuilder, call: CallSite) -> list[OnnxValue]:
    """``(input, states, weights, has_biases, layers, dropout, train, bidirectional, batch_first)``."""
    cell, x = _CELLS[call.name], call.operand()
    if call.argument(6, "train") and call.argument(5, "dropout"):
        raise ExportError("dropout that is always on has no fixed function to export")
    _refuse_states(call)
    weights, biased = call.tensors(2, "params"), bool(call.argument(3, "has_biases"))
    layers, both = int(call.argument(4, "num_layers")), bool(call.argument(7, "bidirectional"))
    directions, batch_first = 1 + both, bool(call.argument(8, "batch_first"))
    value = b.op("Transpose", [x.value], perm=[1, 0, 2]) if batch_first else x.value
    per_direction = len(weights) // (layers * directions)
    if per_direction != 2 + 2 * biased:
        raise ExportError("a recurrent layer with a projection")
    ends: list[tuple[OnnxValue, ...]] = []
    for layer in range(layers):
        start = layer * directions * per_direction
        parts = [
            weights[start + direction * per_direction : start + (direction + 1) * per_direction]
            for direction in range(directions)
        ]
        value, *last = _layer(b, cell, value, parts)
        ends.append(tuple(last))
    if batch_first:
        value = b.op("Transpose", [value], perm=[1, 0, 2])
    states = [found[0] if layers == 1 else b.op("Concat", found, axis=0) for found in zip(*ends, strict=True)]
    return [value, *states]


def _layer(b: GraphBuilder, cell: _Cell, x: OnnxValue, parts: list[list[Tensor]]) -> tuple[OnnxValue, ...]:
    """One layer on ``(time, batch, features)``: its answers, and its last states ``(directions, batch, hidden)``."""
    hidden = parts[0][1].shape[1]
    inputs = [b.weight(torch.stack([_gates(part[place], cell) for part in parts])) for place in (0, 1)]
    if len(parts[0]) == 4:
        biases = [torch.cat([_gates(part[2], cell), _gates(part[3], cell)]) for part in parts]
        inputs.append(b.weight(torch.stack(biases)))
    outputs = b.ops(
        cell.op_type,
        [x, *inputs],
        1 + cell.states,
        hidden_size=hidden,
        direction="bidirectional" if len(parts) == 2 else None,
        activations=[cell.activation] * len(parts) if cell.activation else None,
        linear_before_reset=1 if cell.op_type == "GRU" else None,
    )
    moved = b.op("Transpose", [outputs[0]], perm=[0, 2, 1, 3])
    return b.op("Reshape", [moved, b.integers([0, 0, hidden * len(parts)])]), *outputs[1:]


def _gates(tensor: Tensor, cell: _Cell) -> Tensor:
    """Rows of a weight or bias in ONNX's order of gates."""
    chunks = tensor.chunk(len(cell.gates))
    return torch.cat([chunks[gate] for gate in cell.gates])


def _refuse_states(call: CallSite) -> None:
    """First states other than zero have no form here."""
    given = call.found(1, "hx")
    states = list(given) if isinstance(given, list | tuple) else [given]
    for state in states:
        one = state.one if isinstance(state, RepeatedConstant) else state
        if not isinstance(one, Tensor) or bool(one.any()):
            raise ExportError("a recurrent layer with a first state of its own")
