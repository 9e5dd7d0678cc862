"""Walking an ONNX graph: constants, sizes and values, each operator turned over to its rule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from onnx import helper
from torch import Tensor, fx

from compressor.errors import CaptureError, GraphError
from compressor.graph.given import Given
from compressor.graph.nesting import TENSOR, Nesting
from compressor.graph.network import Network
from compressor.graph.onnx_in.entry import TYPES, FileInput, file_inputs, refuse_batch_elsewhere
from compressor.graph.onnx_in.file import OnnxFile, tensor_of
from compressor.graph.onnx_in.folding.folder import FOLDABLE, Folder
from compressor.graph.onnx_in.older import modern_node
from compressor.graph.onnx_in.rules import RULES
from compressor.graph.onnx_in.state import State
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_node.quantities import AWARE, MOVES
from compressor.graph.onnx_node.sizes import BATCH, Size, SizeVector, compute, is_known, vector

CONTRIBUTED = {
    "MatMulIntegerToFloat", "QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu",
    "QLinearGlobalAveragePool", "QLinearAveragePool", "QLinearConcat", "QLinearSoftmax", "QGemm",
    "FusedConv", "FusedMatMul", "FastGelu", "QuickGelu",
}  # fmt: skip
"""Operators of ONNX Runtime's own domain that are read, where they have a rule."""
BATCH_ANYWHERE = {
    "Abs", "Add", "Cast", "Clip", "Concat", "Div", "Dropout", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish",
    "Identity", "LayerNormalization", "LeakyRelu", "Log", "LogSoftmax", "MatMul", "Max", "Min", "Mul", "Neg", "Pow",
    "Reciprocal", "Relu", "Sigmoid", "Slice", "Softmax", "Softplus", "Split", "Sqrt", "Sub", "Sum", "Tanh",
}  # fmt: skip
"""Operators whose result has the batch where their inputs have it."""
BATCH_FOLLOWED = {
    "Flatten", "GRU", "Gather", "GatherND", "LSTM", "RNN", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Reshape", "Squeeze",
    "Transpose", "Unsqueeze",
}  # fmt: skip
"""Operators that say where the batch is in their result."""
ROW_BY_ROW = {
    "Abs", "Add", "Cast", "Clip", "Div", "Dropout", "Elu", "Erf", "Exp", "Gelu", "Gemm", "HardSigmoid", "HardSwish",
    "Identity", "LayerNormalization", "LeakyRelu", "Log", "LogSoftmax", "MatMul", "Mul", "Neg", "Pow", "Reciprocal",
    "Relu", "Reshape", "Sigmoid", "Softmax", "Softplus", "Sqrt", "Sub", "Sum", "Tanh", "Transpose",
}  # fmt: skip
"""Operators that may take what has other dimensions joined with the batch."""
_FLOW = "is control flow: a network computes the same for every sample"
_DYNAMIC = (
    "is quantized by the values of the whole batch at hand, so that samples depend on each other; quantize the float "
    "model again, with scales from calibration data (static quantization), or take the float model itself"
)
HOPELESS = {
    **dict.fromkeys(("If", "Loop", "Scan", "SequenceMap"), _FLOW),
    **dict.fromkeys(("DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul"), _DYNAMIC),
}
"""Operators that have no place in a network, whatever the sizes of its inputs, and why."""


def refuse_by_name(proto: onnx.NodeProto) -> None:
    """Raises ``CaptureError`` for an operator that no network has."""
    if proto.op_type in HOPELESS:
        raise CaptureError(f"{_where(proto)}: {HOPELESS[proto.op_type]}")


def _where(proto: onnx.NodeProto) -> str:
    return f"operator {proto.op_type} (node {proto.name or next(iter(proto.output), '')!r})"


class GraphReader:
    """Reads one graph, operator by operator."""

    def __init__(self, file: OnnxFile, path: Path, given: Sequence[Given] = ()) -> None:
        self.path = path
        self.graph, self.opset = file.graph, file.opset
        constants = {proto.name: tensor_of(proto, path) for proto in self.graph.initializer}
        refuse_batch_elsewhere(self.graph, constants.keys())
        for proto in self.graph.node:  # whatever the sizes are
            refuse_by_name(proto)
        self.entries: tuple[FileInput, ...] = file_inputs(self.graph, frozenset(constants), given)
        self.state = State(self.graph, constants, self.entries, str(path))
        self.folder = Folder()
        self.unread = dict(self.state.uses)
        """How often every name is still to be read."""

    def network(self) -> Network:
        """The network. Raises ``CaptureError`` naming the operator and the node that have no place in one."""
        for proto in self.graph.node:
            if not all(name in self.state.nodes for name in proto.output[:1]):
                self.read(proto)
        values = list(self.graph.output)
        nesting = TENSOR if len(values) == 1 else Nesting("tuple", (TENSOR,) * len(values))
        nodes = [self.output(value) for value in values]
        if all("dtype" in node.meta for node in nodes):
            raise CaptureError(
                f"its output {values[0].name!r} holds places or flags, which nothing can be trained by; "
                "cut the file at the scores before it (onnx.utils.extract_model)"
            )
        network = self.state.build.finish(nodes, nesting, [value.name for value in values])
        network.notes += tuple(
            f"its output {value.name!r} has the batch as dimension {axis} in the file; here, and in files that are "
            "written of it, the batch is the first"
            for value, axis in zip(values, self.batch_axes, strict=True)
            if axis
        )
        return network

    @property
    def batch_axes(self) -> tuple[int, ...]:
        """Which dimension of each output is the batch in the file."""
        return tuple(self.state.batch_axes.get(value.name, 0) for value in self.graph.output)

    def output(self, value: onnx.ValueInfoProto) -> fx.Node:
        """The node that the network returns for an output of the file, of the type that it has there."""
        state, name = self.state, value.name
        if name not in state.nodes:
            raise CaptureError(f"its output {name!r} does not depend on its input")
        if name in state.joined:
            raise CaptureError(f"its output {name!r} has the batch joined with other dimensions")
        if name in state.quantities:
            raise CaptureError(f"its output {name!r} holds bytes; a network returns floats")
        node, kind = state.nodes[name], TYPES.get(value.type.tensor_type.elem_type, "float32")
        if kind.startswith("float") or node.meta.get("dtype") == getattr(torch, kind):
            return node
        return state.apply(torch.ops.aten.to.dtype, [node, getattr(torch, kind)])

    @property
    def values(self) -> dict[str, str]:
        """The values of the file, each with the name of the node that holds it in the network."""
        moved = self.state.quantities.keys() | self.state.batch_axes.keys() | self.state.joined.keys()
        return {name: node.name for name, node in self.state.nodes.items() if name not in moved}

    def read(self, proto: onnx.NodeProto) -> None:
        try:
            attributes = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
            node = Node(proto.op_type, proto.name, list(proto.input), list(proto.output), attributes, self.state)
            own = proto.domain in ("", "ai.onnx")
            if own and self.is_constant(node):
                return
            self.refuse_unknown_inputs(node)
            if own:
                if self.is_about_sizes(node) or self.is_folded(node):
                    return
                node = modern_node(node, self.opset)
            if node.operator not in RULES or (own == (node.operator in CONTRIBUTED)):
                raise CaptureError("is not supported" + ("" if own else f" (domain {proto.domain})"))
            self.apply(node)
        except (CaptureError, GraphError) as error:
            raise CaptureError(f"{_where(proto)}: {error}") from None

    def apply(self, node: Node) -> None:
        """The rule of the operator. Where quantized values are only moved about, their scale goes with them."""
        quantities = {node.quantity(at) for at, name in enumerate(node.inputs) if name in self.state.nodes}
        if quantities - {None} and node.operator not in MOVES | AWARE:
            raise CaptureError("it calculates with quantized bytes")
        self.refuse_moved_batch(node)
        joined = self.joined_batch(node)
        self.state.nodes.setdefault(node.outputs[0], RULES[node.operator](node))
        self.state.nodes.pop("", None)  # a result that the file leaves out
        if node.operator in BATCH_ANYWHERE and (axis := self.moved_batch(node)):
            self.state.batch_axes |= dict.fromkeys(node.outputs, axis)
        if joined and node.operator not in BATCH_FOLLOWED:
            self.state.joined |= dict.fromkeys(node.outputs, joined)
        if node.operator in MOVES and quantities - {None}:
            carried = quantities.pop()
            if quantities or carried is None:
                raise CaptureError("it joins values that are quantized in different ways")
            self.state.quantities |= dict.fromkeys(node.outputs, carried)

    def moved_batch(self, node: Node) -> int:
        """Which dimension of the inputs is the batch."""
        return max(self.state.batch_axes.get(name, 0) for name in node.inputs)

    def refuse_moved_batch(self, node: Node) -> None:
        """Where the batch is not the first dimension, few operators make sense."""
        axes = {self.state.batch_axes.get(name, 0) for name in node.inputs if name in self.state.nodes}
        if axes == {0} or not axes:
            return
        if node.operator not in BATCH_ANYWHERE | BATCH_FOLLOWED or len(axes) > 1:
            raise CaptureError(f"the batch is dimension {max(axes)} of what it takes, where it must be the first")

    def joined_batch(self, node: Node) -> tuple[Size, ...]:
        """What all inputs have joined with the batch; only rows can be worked on then."""
        found = {self.state.joined.get(name, ()) for name in node.inputs if name in self.state.nodes}
        joined = max(found, key=len, default=())
        if joined and (node.operator not in ROW_BY_ROW or len(found) > 1):
            raise CaptureError("the batch is joined with other dimensions of what it takes")
        return joined

    def refuse_unknown_inputs(self, node: Node) -> None:
        for name in node.inputs:
            if name and not self.state.knows(name):
                raise CaptureError(f"its input {name!r} is made nowhere before it")

    # --- constants and sizes -------------------------------------------------------------------------------------

    def is_constant(self, node: Node) -> bool:
        """Constants written as operators."""
        if node.operator != "Constant":
            return False
        self.state.constants[node.outputs[0]] = _constant(node, self.path)
        return True

    def is_about_sizes(self, node: Node) -> bool:
        """What is computed from sizes alone."""
        state, output = self.state, node.outputs[0]
        if node.operator in ("Shape", "Size"):
            sizes: SizeVector = self.shape_of(node)
            if node.operator == "Size":
                sizes = compute("ReduceProd", [sizes], {"keepdims": 0}) or 0
            else:
                sizes = vector(sizes)[node.attributes.get("start", 0) : node.attributes.get("end")]
            state.keep_sizes(output, sizes)
            return True
        if node.operator == "Dropout" and node.is_constant(0):
            state.constants[output] = node.constant(0)
            return True
        if not any(name in state.sizes for name in node.inputs) or any(name in state.nodes for name in node.inputs):
            return False
        if node.operator in ("Reshape", "Expand", "Tile", "ConstantOfShape") and node.inputs[-1] in state.sizes:
            state.constants[output] = self.of_one_sample(node)
            return True
        result = compute(
            node.operator, [state.sizes_in(name) if name else None for name in node.inputs], node.attributes
        )
        if result is None:
            return False
        state.keep_sizes(output, result)
        return True

    def shape_of(self, node: Node) -> list[Size]:
        """All sizes of what the node takes: a constant, sizes themselves, or a value."""
        if node.is_constant(0):
            return list(node.constant(0).shape)
        if node.inputs[0] in self.state.sizes:
            sizes = self.state.sizes[node.inputs[0]]
            return [len(sizes)] if isinstance(sizes, list) else []
        return node.whole()

    def of_one_sample(self, node: Node) -> Tensor:
        """A constant with one row per sample: one row, which is spread over the batch where it is used."""
        sizes = [1 if size is BATCH else size for size in vector(self.state.sizes_in(node.inputs[-1]))]
        if not is_known(sizes):
            raise CaptureError("its sizes are calculated from the batch size")
        inputs = [*(node.constant(at) for at in range(len(node.inputs) - 1)), torch.tensor(sizes, dtype=torch.int64)]
        (result,) = self.folder.fold(node.operator, inputs, node.attributes)
        return result

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


def _constant(node: Node, path: Path) -> Tensor:
    ((kind, value),) = node.attributes.items()
    if kind == "value":
        return tensor_of(value, path)
    if kind in ("value_float", "value_floats"):
        return torch.tensor(value, dtype=torch.float32)
    if kind in ("value_int", "value_ints"):
        return torch.tensor(value, dtype=torch.int64)
    raise CaptureError(f"a constant of the kind {kind!r} is not supported")
