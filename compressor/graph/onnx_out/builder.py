"""Building an ONNX graph node by node: the concrete ``OnnxBuilder`` that leaves and rules write into.

Names are short because they are bytes of the file: values and initializers are numbered, and a node is called after the
leaf that wrote it (``path``, then ``path/1``, ``path/2`` …; function nodes ``/name``), so that a profile of the file
can be read back in terms of leaves.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.errors import ExportError
from compressor.graph.leaf import OnnxValue, Shape
from compressor.graph.onnx_out.borders import drop_spare_rows, merge_pads

MINIMUM_OPSET = 18
"""Axes of reductions and ``Split`` sizes as inputs, and the bitwise operators, exist from here on."""
IR_VERSION = 10
FLOAT = 1
"""``TensorProto.FLOAT``."""
MAXIMUM_BYTES = 2**31 - 2**22
"""Of all constants. A protocol buffer cannot be larger than 2 GiB, and the emitter writes no side files."""


@dataclass(frozen=True)
class Operand:
    """A value in the graph, and the shape of one sample of it (None where it is no batch of samples).

    ``kind`` is the type of values that are no real numbers: flags, and places. ``whole`` are all sizes of a value that
    has the batch in another place than the first, with -1 there.
    """

    value: OnnxValue
    shape: Shape | None
    kind: torch.dtype | None = None
    whole: Shape | None = None

    @property
    def sample(self) -> Shape:
        """The shape of one sample. Raises ``ExportError`` where the value is no batch of samples."""
        if self.shape is None:
            raise ExportError("an operand is no batch of samples")
        return self.shape

    @property
    def sizes(self) -> Shape:
        """All sizes, with -1 for the batch. Raises ``ExportError`` where they are not known."""
        if self.shape is None and self.whole is None:
            raise ExportError("an operand is no batch of samples")
        return (-1, *self.shape) if self.shape is not None else self.whole or ()

    @property
    def rank(self) -> int:
        return len(self.sizes)


@dataclass(frozen=True)
class GraphOutput:
    """One output of the graph: ``name`` yields ``(batch, *shape)`` of the type ``dtype``."""

    name: str
    value: OnnxValue
    shape: Shape
    dtype: torch.dtype = torch.float32


class GraphBuilder:
    """Collects nodes and initializers; equal initializers are stored once."""

    def __init__(self, opset: int = 20, reserved: Iterable[str] = ()) -> None:
        """``reserved``: names of inputs and outputs, which nothing else is called."""
        if opset < MINIMUM_OPSET:
            raise ExportError(f"opset {opset} is too old: {MINIMUM_OPSET} or later is needed")
        self.opset = opset
        self._nodes: list[ir.Node] = []
        self._constants: list[ir.Value] = []
        self._by_content: dict[tuple[str, Shape, int], list[tuple[NDArray[Any], ir.Value]]] = {}
        self._scope = ""
        self._node_count: Counter[str] = Counter()
        self._value_count = 0
        self._reserved = set(reserved)
        self._domains: set[str] = {""}
        self._spare: dict[ir.Value, Sequence[int]] = {}

    @contextmanager
    def scope(self, path: str) -> Iterator[None]:
        """Nodes written inside are called after ``path``."""
        outer, self._scope = self._scope, path
        try:
            yield
        finally:
            self._scope = outer

    # --- the contract of OnnxBuilder -----------------------------------------------------------------------------

    def constant(self, value: Tensor | NDArray[Any] | np.generic, hint: str = "c") -> OnnxValue:
        """An initializer holding ``value``; its dtype is kept. An equal one that exists already is shared."""
        array = np.ascontiguousarray(_to_numpy(value)).reshape(np.shape(value))
        raw = array.reshape(-1).view(np.uint8)
        key = (array.dtype.str, array.shape, zlib.crc32(raw.data))
        for known, existing in self._by_content.get(key, []):
            if np.array_equal(known, raw):
                return existing
        created = ir.Value(
            name=self._fresh(hint),
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        )
        created.const_value = ir.Tensor(array, name=created.name)
        self._by_content.setdefault(key, []).append((raw, created))
        self._constants.append(created)
        return created

    def op(
        self, op_type: str, inputs: Sequence[OnnxValue | None], /, *, domain: str = "", **attributes: Any
    ) -> OnnxValue:
        """A node with one output. Attributes are Python scalars, strings, or sequences of them; None leaves one out."""
        return self.ops(op_type, inputs, 1, domain=domain, **attributes)[0]

    # --- what rules may use besides ------------------------------------------------------------------------------

    def ops(
        self, op_type: str, inputs: Sequence[OnnxValue | None], outputs: int, /, *, domain: str = "", **attributes: Any
    ) -> tuple[OnnxValue, ...]:
        """A node with several outputs."""
        self._domains.add(domain)
        node = ir.Node(
            domain,
            op_type,
            [cast("ir.Value | None", value) for value in inputs],
            [_attribute(name, value) for name, value in attributes.items() if value is not None],
            num_outputs=outputs,
            name=self._node_name(),
        )
        for value in node.outputs:
            value.name = self._fresh("v")
        self._nodes.append(node)
        return tuple(node.outputs)

    def weight(self, value: Tensor, hint: str = "w") -> OnnxValue:
        """A trained tensor as a float32 initializer."""
        return self.constant(value.detach().float(), hint)

    def scalar(self, value: float) -> OnnxValue:
        """A float32 scalar."""
        return self.constant(np.array(value, dtype=np.float32), "s")

    def integers(self, values: Sequence[int]) -> OnnxValue:
        """An int64 vector: a shape, axes, indices."""
        return self.constant(np.array(values, dtype=np.int64), "i")

    def reshape(self, value: OnnxValue, shape: Shape) -> OnnxValue:
        """Samples reshaped to ``shape``, whatever the batch size."""
        return self.op("Reshape", [value, self.integers([0, *shape])])

    def real(self, operand: Operand) -> OnnxValue:
        """The value as float32: flags count as 0 and 1."""
        return operand.value if operand.kind is None else self.op("Cast", [operand.value], to=FLOAT)

    def spare(self, value: OnnxValue, rows: Sequence[int]) -> None:
        """Say of a value, as its reader, that its last rows, so many per spatial axis, are not read."""
        self._spare[cast("ir.Value", value)] = rows

    # --- the model -----------------------------------------------------------------------------------------------

    def input(self, name: str, shape: Shape, dtype: torch.dtype = torch.float32) -> OnnxValue:
        """A graph input ``(batch, *shape)`` whose batch dimension is dynamic."""
        self._reserved.add(name)
        return ir.Value(name=name, shape=ir.Shape(["batch", *shape]), type=_type(dtype))

    def model(
        self, inputs: Sequence[OnnxValue], outputs: Sequence[GraphOutput], metadata: Mapping[str, str] | None = None
    ) -> bytes:
        """The finished file."""
        results: list[ir.Value] = []
        for output in outputs:
            value = output.value
            if value in inputs or value in self._constants or value in results:
                value = self.op("Identity", [value])
            result = cast("ir.Value", value)
            result.name = output.name
            result.shape = ir.Shape(["batch", *output.shape])
            result.type = _type(output.dtype)
            results.append(result)
        nodes = merge_pads(self._nodes, results)
        drop_spare_rows(self._spare, results)
        used = {id(value) for node in nodes for value in node.inputs}
        constants = [value for value in self._constants if id(value) in used]
        size = sum(value.const_value.nbytes for value in constants if value.const_value is not None)
        if size > MAXIMUM_BYTES:
            raise ExportError(f"the ONNX file would take {size / 2**30:.1f} GiB: 2 GiB is the limit of one file")
        graph = ir.Graph(
            [cast("ir.Value", value) for value in inputs],
            results,
            nodes=nodes,
            initializers=constants,
            opset_imports={domain: self.opset if domain == "" else 1 for domain in sorted(self._domains)},
            name="compressor",
        )
        model = ir.Model(graph, ir_version=IR_VERSION, producer_name="compressor")
        model.metadata_props.update(metadata or {})
        proto = ir.to_proto(model)
        proto.graph.ClearField("value_info")  # types of initializers, which the initializers say themselves
        data: bytes = proto.SerializeToString()
        return data

    def _node_name(self) -> str:
        index = self._node_count[self._scope]
        self._node_count[self._scope] += 1
        return f"{self._scope}/{index}" if index else self._scope

    def _fresh(self, hint: str) -> str:
        name = f"{hint}{self._value_count}"
        while name in self._reserved:  # a finite set, and no number comes twice
            self._value_count += 1
            name = f"{hint}{self._value_count}"
        self._value_count += 1
        return name


def _type(dtype: torch.dtype) -> ir.TensorType:
    return ir.TensorType(ir.DataType.from_numpy(torch.empty(0, dtype=dtype).numpy().dtype))


def leaf_of(node_name: str) -> str:
    """The leaf path in a node's name; empty for function nodes."""
    return node_name.partition("/")[0]


def _to_numpy(value: Tensor | NDArray[Any] | np.generic) -> NDArray[Any]:
    if not isinstance(value, Tensor):
        return np.asarray(value)
    if value.dtype == torch.bfloat16:
        raise ExportError("bfloat16 constants have no NumPy form: convert them first")
    array: NDArray[Any] = value.detach().cpu().numpy()
    return array


def _attribute(name: str, value: Any) -> ir.Attr:
    """Python scalars, strings and sequences as ONNX attributes; booleans are integers there."""
    if isinstance(value, bool | int | np.integer):
        return ir.AttrInt64(name, int(value))
    if isinstance(value, float | np.floating):
        return ir.AttrFloat32(name, float(value))
    if isinstance(value, str):
        return ir.AttrString(name, value)
    values = list(value)
    if all(isinstance(item, str) for item in values) and values:
        return ir.AttrStrings(name, values)
    if any(isinstance(item, float | np.floating) for item in values):
        return ir.AttrFloat32s(name, [float(item) for item in values])
    return ir.AttrInt64s(name, [int(item) for item in values])
