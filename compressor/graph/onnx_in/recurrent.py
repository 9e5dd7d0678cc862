"""LSTM, GRU and RNN: torch's functions on whole sequences, the gates in torch's order.

ONNX has time first and the batch second, and in its result the directions before the batch. A node of the network has
the batch first, always; the state says where it is in the file.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, fx

from compressor.errors import CaptureError
from compressor.graph.onnx_in.rules import rule
from compressor.graph.onnx_node.node import Node

aten = torch.ops.aten


@dataclass(frozen=True)
class _Cell:
    """torch's functions by the activations that they compute, ONNX's own first; and ONNX's gates in torch's order."""

    functions: Mapping[tuple[str, ...], Callable[..., Any]]
    gates: tuple[int, ...]
    states: int = 1


_CELLS: Final[Mapping[str, _Cell]] = {
    "LSTM": _Cell({("Sigmoid", "Tanh", "Tanh"): aten.lstm.input}, (0, 2, 3, 1), states=2),
    "GRU": _Cell({("Sigmoid", "Tanh"): aten.gru.input}, (1, 0, 2)),
    "RNN": _Cell({("Tanh",): aten.rnn_tanh.input, ("Relu",): aten.rnn_relu.input}, (0,)),
}
_LENGTHS, _STATES, _PEEPHOLES = 4, (5, 6), 7


@rule(*_CELLS)
def recurrent(node: Node) -> fx.Node:
    """All answers ``(time, directions, batch, hidden)``; the last states ``(directions, batch, hidden)`` are noted."""
    cell, direction = _CELLS[node.operator], node.attributes.get("direction", b"forward").decode()
    directions, hidden = node.constant(1).shape[0], node.constant(2).shape[-1]
    if directions != 1 + (direction == "bidirectional"):
        raise CaptureError(f"weights of {directions} directions")
    _refuse_other_forms(node)
    weights = [node.state.operand(name, tensor=True) for way in range(directions) for name in _weights(node, cell, way)]
    zeros = [_zeros(node, directions, hidden)] * cell.states
    backwards = direction == "reverse"
    x = node.apply(aten.flip.default, node.tensor(), [1]) if backwards else node.tensor()
    build, steps = node.state.build, node.sample()[0]
    given = [x, zeros if cell.states > 1 else zeros[0], weights, node.given(3)]
    found = build.apply(_function(node, cell, directions), [*given, 1, 0.0, False, directions == 2, True])
    values, *last = (build.apply(operator.getitem, [found, place]) for place in range(1 + cell.states))
    values.meta["shape"] = (steps, directions * hidden)
    for name, state in zip(node.outputs[1:], last, strict=False):
        moved = build.apply(torch.permute, [state, [1, 0, 2]])
        moved.meta["shape"] = (directions, hidden)
        node.state.nodes[name] = moved
        node.state.batch_axes[name] = 1
    values = node.apply(aten.flip.default, values, [1]) if backwards else values
    node.state.batch_axes[node.outputs[0]] = 2
    return node.reshaped(values, (steps, directions, hidden))


def _function(node: Node, cell: _Cell, directions: int) -> Callable[..., Any]:
    """torch's function; the attribute lists the activations of one direction, or of both."""
    own = next(iter(cell.functions))
    named = tuple(name.decode() for name in node.attributes.get("activations", ())) or own * directions
    function = cell.functions.get(named[: len(own)])
    if function is None or named != named[: len(own)] * directions:
        raise CaptureError(f"activations {', '.join(named)}, which torch's {node.operator} does not have")
    return function


def _refuse_other_forms(node: Node) -> None:
    """What torch's functions do not compute."""
    if node.attributes.get("layout", 0) or node.batch_axis() != 1 or len(node.sample()) != 2:
        raise CaptureError("what it takes does not have time first and the batch second")
    if node.attributes.get("clip") or node.attributes.get("input_forget"):
        raise CaptureError("clipped gates, or gates that share a value")
    if node.operator == "GRU" and not node.attributes.get("linear_before_reset", 0):
        raise CaptureError("a reset gate before the product (linear_before_reset = 0), which torch's GRU has behind it")
    if node.given(_LENGTHS) and not bool((node.constant(_LENGTHS) == node.sample()[0]).all()):
        raise CaptureError("sequences of several lengths")
    for position in _STATES:
        if node.given(position) and bool(node.constant(position).any()):
            raise CaptureError("a first state other than zero")
    if node.given(_PEEPHOLES) and bool(node.constant(_PEEPHOLES).any()):
        raise CaptureError("peepholes")


def _weights(node: Node, cell: _Cell, way: int) -> Iterator[str]:
    """Names of the weights and biases of one direction, as torch has them."""
    for position in (1, 2):
        yield _derived(node, position, _ordered(node.constant(position)[way], cell), f"of direction {way}")
    if node.given(3):
        for place, part in enumerate(node.constant(3)[way].chunk(2)):
            yield _derived(node, 3, _ordered(part, cell), f"{place} of direction {way}")


def _ordered(rows: Tensor, cell: _Cell) -> Tensor:
    chunks = rows.chunk(len(cell.gates))
    return torch.cat([chunks[gate] for gate in cell.gates])


def _derived(node: Node, position: int, tensor: Tensor, about: str) -> str:
    name = node.derived(position, tensor, about)
    if node.inputs[position] in node.state.weights:
        node.state.weights.add(name)
    return name


def _zeros(node: Node, directions: int, hidden: int) -> fx.Node:
    """First states: as many as there are samples."""
    build, constant = node.state.build, node.fresh_constant(torch.zeros(1, 1, 1), "first state")
    samples = build.apply(aten.sym_size.int, [build.inputs[0], 0])
    samples.meta["shape"] = None
    one = node.state.operand(constant, tensor=True)
    return build.apply(aten.expand.default, [one, [directions, samples, hidden]])
