"""Walking an ONNX graph: constants, sizes and values, each operator turned over to its rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import helper
from torch import Tensor, fx, nn

from compressor.errors import CaptureError, GraphError
from compressor.graph.network import InputSpec, Network
from compressor.graph.onnx_in.file import tensor_of
from compressor.graph.onnx_in.node import RULES, Node
from compressor.graph.onnx_in.sizes import Sizes, compute
from compressor.graph.raising.assembly import Assembly, owner_of, safe_path
from compressor.graph.raising.program import BATCH
from compressor.graph.shape_rules.functions import NO_RULE, function_shape
from compressor.graph.shape_rules.probe import probe_node
from compressor.graph.shapes import shape_of

_PLAIN_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)+")


class Reader:
    """The state of reading one graph. A name is a value (``nodes``), a constant, or sizes."""

    def __init__(self, graph: onnx.GraphProto, path: Path) -> None:
        self.path = path
        self.graph = graph
        self.constants = {proto.name: tensor_of(proto, path) for proto in graph.initializer}
        self.initializers = frozenset(self.constants)
        self.sizes: dict[str, Sizes] = {}
        spec, name = _input(graph, self.initializers)
        self.build = Assembly(spec, str(path))
        self.build.input.meta["shape"] = spec.shape
        self.nodes: dict[str, fx.Node] = {name: self.build.input}
        self.uses = _count_uses(graph)
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for proto in graph.node:
            for name in proto.input:
                self.readers.setdefault(name, []).append(proto)
        self.leaves: dict[Hashable, str] = {}
        self.parameters: dict[str, nn.Parameter] = {}
        self.operands = nn.Module()
        """The tensors that functions take, for finding the shapes of results."""

    def network(self) -> Network:
        """The network. Raises ``CaptureError`` naming the operator and the node that have no place in one."""
        for proto in self.graph.node:
            if proto.output[0] not in self.nodes:
                self.read(proto)
        if len(self.graph.output) != 1:
            raise CaptureError(f"it returns {len(self.graph.output)} values; a network returns one tensor")
        name = self.graph.output[0].name
        if name not in self.nodes:
            raise CaptureError(f"its output {name!r} does not depend on its input")
        return self.build.finish(self.nodes[name])

    def read(self, proto: onnx.NodeProto) -> None:
        attributes = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
        node = Node(proto.op_type, proto.name, list(proto.input), list(proto.output), attributes, self)
        where = f"operator {proto.op_type} (node {proto.name or proto.output[0]!r})"
        try:
            if self.is_known_early(node):
                return
            if proto.domain not in ("", "ai.onnx") or proto.op_type not in RULES:
                raise CaptureError("is not supported")
            result = RULES[proto.op_type](node)
        except (CaptureError, GraphError) as error:
            raise CaptureError(f"{where}: {error}") from None
        self.nodes.setdefault(node.outputs[0], result)

    def is_known_early(self, node: Node) -> bool:
        """Constants, and what is computed from sizes alone."""
        output = node.outputs[0]
        if node.operator == "Constant":
            self.constants[output] = _constant(node, self.path)
            return True
        if node.operator == "Shape":
            sizes = list(node.constant(0).shape) if node.is_constant(0) else [BATCH, *node.sample()]
            self.sizes[output] = sizes[node.attributes.get("start", 0) : node.attributes.get("end")]
            return True
        if node.operator in ("Identity", "Dropout", "Reshape") and node.is_constant(0):
            same = node.operator != "Reshape"
            self.constants[output] = (
                node.constant(0) if same else node.constant(0).reshape(self.sizes_in(node.inputs[1]))
            )
            return True
        if not node.inputs or not any(name in self.sizes for name in node.inputs):
            return False
        if any(name in self.nodes for name in node.inputs):
            return False
        result = compute(node.operator, [self.sizes_in(name) for name in node.inputs if name], node.attributes)
        if result is None:
            return False
        self.sizes[output] = result
        return True

    def sizes_in(self, name: str) -> Sizes:
        """Sizes under this name, computed or constant."""
        if name in self.sizes:
            return self.sizes[name]
        tensor = self.constants.get(name)
        if tensor is None or tensor.is_floating_point() or tensor.dim() > 1:
            raise CaptureError(f"its input {name!r} must be sizes")
        found: Sizes = tensor.tolist()
        return found

    # --- building ------------------------------------------------------------------------------------------------

    def leaf(self, node: Node, module: nn.Module, inputs: Sequence[fx.Node], tensors: dict[str, str]) -> fx.Node:
        """A call of ``module``, whose attributes ``tensors`` are initializers. A layer used twice is one leaf."""
        for attribute, name in tensors.items():
            self._hold(module, attribute, name)
        key = (str(module), *sorted(tensors.items()))
        if not tensors or key not in self.leaves:
            self.leaves[key] = self._place(node, module, tensors)
        call = self.build.call(self.leaves[key], *inputs)
        call.meta["shape"] = shape_of(module, *(value.meta["shape"] for value in inputs))
        return call

    def _hold(self, module: nn.Module, attribute: str, name: str) -> None:
        tensor, wanted = self.constants[name], getattr(module, attribute)
        if tensor.numel() != wanted.numel() or not tensor.is_floating_point():
            raise CaptureError(f"its {attribute} has sizes {tuple(tensor.shape)} instead of {tuple(wanted.shape)}")
        if not isinstance(wanted, nn.Parameter):
            setattr(module, attribute, tensor.reshape(wanted.shape).clone())
            return
        if name not in self.parameters or self.parameters[name].shape != wanted.shape:
            self.parameters[name] = nn.Parameter(tensor.reshape(wanted.shape))
        setattr(module, attribute, self.parameters[name])

    def _place(self, node: Node, module: nn.Module, tensors: dict[str, str]) -> str:
        named = [owner_of(name) for name in tensors.values() if _PLAIN_PATH.fullmatch(name)]
        scope = node.name.strip("/").split("/")[-2:-1]
        candidates = [*named, node.name, *scope]
        path = next(
            (
                safe
                for name in candidates
                if _PLAIN_PATH.fullmatch(name) and self.build.paths.claim(safe := safe_path(name))
            ),
            None,
        )
        if path is None:
            base = node.name.strip("/").rpartition("/")[2] or node.operator.lower()
            path = self.build.paths.fresh(safe_path(base.replace(".", "_")))
        self.build.add(path, module)
        return path

    def apply(self, function: Callable[..., Any], arguments: Sequence[Any]) -> fx.Node:
        """A call of a function, with its shape."""
        call = self.build.apply(function, arguments)
        shape = function_shape(call)
        call.meta["shape"] = probe_node(self.operands, call) if shape is NO_RULE else shape
        return call

    def operand(self, name: str) -> fx.Node | float:
        """An operand of arithmetic: a value, a number, or a constant tensor kept in the network."""
        if name in self.nodes:
            return self.nodes[name]
        tensor = self.constants.get(name)
        if tensor is None:
            raise CaptureError(f"its input {name!r} is not known")
        if tensor.numel() == 1:
            number: float = tensor.item()
            return number
        if name not in self.parameters and tensor.is_floating_point() and name in self.initializers:
            self.parameters[name] = nn.Parameter(tensor)
        held: Tensor = self.parameters.get(name, tensor)
        key = ("constant", name)
        if key not in self.leaves:
            self.leaves[key] = self.build.paths.fresh(safe_path(re.sub(r"\W", "_", name.strip("/"))))
            self.operands.register_buffer(self.leaves[key], held.detach())
        found = self.build.tensor(self.leaves[key], held)
        found.meta["shape"] = None
        return found


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


def _count_uses(graph: onnx.GraphProto) -> dict[str, int]:
    uses: dict[str, int] = {}
    for name in [name for proto in graph.node for name in proto.input] + [value.name for value in graph.output]:
        uses[name] = uses.get(name, 0) + 1
    return uses
