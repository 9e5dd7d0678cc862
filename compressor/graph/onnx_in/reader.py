"""Walking an ONNX graph: constants, sizes and values, each operator turned over to its rule."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import torch
from onnx import helper
from torch import Tensor

from compressor.errors import CaptureError, GraphError
from compressor.graph.network import InputSpec, Network
from compressor.graph.onnx_in.file import tensor_of
from compressor.graph.onnx_in.folding import FOLDABLE, Folder
from compressor.graph.onnx_in.node import RULES, Node
from compressor.graph.onnx_in.sizes import compute
from compressor.graph.onnx_in.state import State
from compressor.graph.raising.assembly import safe_path
from compressor.graph.raising.program import BATCH

CONTRIBUTED = {"MatMulIntegerToFloat"}
"""Operators of ONNX Runtime's own domain that are read: those that are written here."""


class Reader:
    """Reads one graph, operator by operator."""

    def __init__(self, graph: onnx.GraphProto, path: Path) -> None:
        self.path = path
        self.graph = graph
        constants = {proto.name: tensor_of(proto, path) for proto in graph.initializer}
        spec, entry = _input(graph, frozenset(constants))
        self.state = State(graph, constants, spec, entry, str(path))
        self.folder = Folder()
        self.unread = dict(self.state.uses)
        """How often every name is still to be read."""

    def network(self) -> Network:
        """The network. Raises ``CaptureError`` naming the operator and the node that have no place in one."""
        for proto in self.graph.node:
            if proto.output[0] not in self.state.nodes:
                self.read(proto)
        if len(self.graph.output) != 1:
            raise CaptureError(f"it returns {len(self.graph.output)} values; a network returns one tensor")
        name = self.graph.output[0].name
        if name not in self.state.nodes:
            raise CaptureError(f"its output {name!r} does not depend on its input")
        return self.state.build.finish(self.state.nodes[name])

    def read(self, proto: onnx.NodeProto) -> None:
        attributes = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
        node = Node(proto.op_type, proto.name, list(proto.input), list(proto.output), attributes, self.state)
        where = f"operator {proto.op_type} (node {proto.name or proto.output[0]!r})"
        foreign = proto.domain not in ("", "ai.onnx")
        try:
            if not foreign and (self.is_about_sizes(node) or self.is_folded(node)):
                return
            if proto.op_type not in RULES or proto.domain not in _domains(proto.op_type):
                raise CaptureError("is not supported")
            result = RULES[proto.op_type](node)
        except (CaptureError, GraphError) as error:
            raise CaptureError(f"{where}: {error}") from None
        self.state.nodes.setdefault(node.outputs[0], result)

    def is_about_sizes(self, node: Node) -> bool:
        """Constants written as operators, and what is computed from sizes alone."""
        state, output = self.state, node.outputs[0]
        if node.operator == "Constant":
            state.constants[output] = _constant(node, self.path)
            return True
        if node.operator == "Shape":
            sizes = list(node.constant(0).shape) if node.is_constant(0) else [BATCH, *node.sample()]
            state.sizes[output] = sizes[node.attributes.get("start", 0) : node.attributes.get("end")]
            return True
        if node.operator == "Dropout" and node.is_constant(0):
            state.constants[output] = node.constant(0)
            return True
        if node.operator == "Reshape" and node.is_constant(0) and not node.is_constant(1):
            state.constants[output] = node.constant(0).reshape(state.sizes_in(node.inputs[1]))
            return True
        if not node.inputs or not any(name in state.sizes for name in node.inputs):
            return False
        if any(name in state.nodes for name in node.inputs):
            return False
        result = compute(node.operator, [state.sizes_in(name) for name in node.inputs if name], node.attributes)
        if result is None:
            return False
        state.sizes[output] = result
        return True

    def is_folded(self, node: Node) -> bool:
        """Operators on constants alone, as files have them whose weights are packed: the weights become dense."""
        state, given = self.state, [name for name in node.inputs if name]
        if node.operator not in FOLDABLE or not given or any(name not in state.constants for name in given):
            return False
        inputs = [state.constants[name] if name else None for name in node.inputs]
        results = self.folder.fold(node.operator, inputs, node.attributes, len(node.outputs))
        for output, result in zip(node.outputs, results, strict=True):
            state.constants[output] = result
            state.folded.add(output)
            if any(name in state.weights for name in given):
                state.weights.add(output)
        for name in given:
            self.unread[name] -= 1
            if not self.unread[name] and name in state.folded:
                del state.constants[name]  # what lies between is as large as the weights
        return True


def _domains(operator: str) -> tuple[str, ...]:
    return ("com.microsoft",) if operator in CONTRIBUTED else ("", "ai.onnx")


def _input(graph: onnx.GraphProto, initializers: frozenset[str]) -> tuple[InputSpec, str]:
    inputs = [value for value in graph.input if value.name not in initializers]
    if len(inputs) != 1:
        raise CaptureError(f"it takes {len(inputs)} inputs; a network takes one tensor")
    dims = inputs[0].type.tensor_type.shape.dim
    sizes = tuple(dim.dim_value if dim.HasField("dim_value") else 0 for dim in dims)
    if len(sizes) < 2 or min(sizes[1:]) <= 0:
        text = ", ".join(dim.dim_param or str(dim.dim_value) for dim in dims)
        raise CaptureError(f"its input has sizes ({text}); all but the first, the batch, must be fixed")
    name = re.sub(r"[^A-Za-z0-9_]", "_", inputs[0].name) or "input"
    return InputSpec(safe_path(name if not name[0].isdigit() else f"_{name}"), sizes[1:]), inputs[0].name


def _constant(node: Node, path: Path) -> Tensor:
    ((kind, value),) = node.attributes.items()
    if kind == "value":
        return tensor_of(value, path)
    if kind in ("value_float", "value_floats"):
        return torch.tensor(value, dtype=torch.float32)
    if kind in ("value_int", "value_ints"):
        return torch.tensor(value, dtype=torch.int64)
    raise CaptureError(f"a constant of the kind {kind!r} is not supported")
