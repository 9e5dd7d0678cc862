"""What changed, layer by layer, read from the two ONNX files themselves: what ships is what is compared.

A node is called after the leaf that wrote it, so the bytes of initializers can be led back to leaves. BatchNorm is
folded in the files and does not appear.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import onnx

from compressor.graph.onnx_out.builder import leaf_of
from compressor.report import text
from compressor.report.table import Table, table

_COMPUTING = (
    "Conv", "ConvTranspose", "Gemm", "MatMul", "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits", "QLinearConv",
    "ConvInteger",
)  # fmt: skip


@dataclass(frozen=True)
class Weight:
    """An initializer: its element type, its sizes and its bytes."""

    dtype: str
    shape: tuple[int, ...]
    bytes: int


@dataclass(frozen=True)
class OnnxLayer:
    """The nodes one leaf wrote, and the initializers they are the first to use."""

    operators: tuple[str, ...]
    weights: tuple[Weight, ...]

    @property
    def bytes(self) -> int:
        return sum(weight.bytes for weight in self.weights)

    def describe(self) -> str:
        """``Conv float32 16×6×5×5``: the operator that computes, and its largest weight."""
        operator = next((op for op in self.operators if op in _COMPUTING), self.operators[-1])
        if not self.weights:
            return operator
        largest = max(self.weights, key=lambda weight: math.prod(weight.shape))
        return f"{operator} {largest.dtype} {text.shape(largest.shape)}"


@dataclass(frozen=True)
class LayerChange:
    """One leaf before and after; None where it is not there."""

    path: str
    before: OnnxLayer | None
    after: OnnxLayer | None

    @property
    def kind(self) -> Literal["same", "changed", "removed", "new"]:
        if self.before is None:
            return "new"
        if self.after is None:
            return "removed"
        return "same" if self.before == self.after else "changed"


def layer_changes(before: bytes, after: bytes) -> list[LayerChange]:
    """Every leaf of either file, in the order of the first file, new ones after the leaf they follow."""
    old, new = onnx_layers(before), onnx_layers(after)
    return [LayerChange(path, old.get(path), new.get(path)) for path in merged(list(old), list(new))]


def onnx_layers(model: bytes) -> dict[str, OnnxLayer]:
    """The leaves of an ONNX file by path, in order of execution."""
    graph = onnx.load_from_string(model).graph
    unclaimed = {entry.name: _weight(entry) for entry in graph.initializer}
    operators: dict[str, list[str]] = {}
    weights: dict[str, list[Weight]] = {}
    for node in graph.node:
        path = leaf_of(node.name)
        if path:
            operators.setdefault(path, []).append(node.op_type)
            weights.setdefault(path, []).extend(unclaimed.pop(name) for name in node.input if name in unclaimed)
    return {path: OnnxLayer(tuple(ops), tuple(weights[path])) for path, ops in operators.items()}


def changes_table(changes: list[LayerChange]) -> Table:
    """The leaves that hold weights or changed."""
    shown = [change for change in changes if change.kind != "same" or (change.before and change.before.bytes)]
    return table("layer, before, after, >bytes before, >bytes after, change", map(_row, shown))


def _row(change: LayerChange) -> tuple[str, ...]:
    before, after = change.before, change.after
    return (
        change.path,
        before.describe() if before else text.NONE,
        after.describe() if after else text.NONE,
        text.count(before.bytes) if before else text.NONE,
        text.count(after.bytes) if after else text.NONE,
        _words(change),
    )


def _words(change: LayerChange) -> str:
    if change.kind == "changed" and change.before and change.after and 0 < change.after.bytes < change.before.bytes:
        return f"{text.times(change.before.bytes / change.after.bytes)} smaller"
    return {"same": ""}.get(change.kind, change.kind)


def _weight(entry: onnx.TensorProto) -> Weight:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(entry.data_type)
    shape = tuple(entry.dims)
    stored = len(entry.raw_data) or math.prod(shape) * dtype.itemsize
    return Weight(dtype.name, shape, stored)


def merged(old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    """Both orders in one: those of ``old``, each followed by what is new behind it in ``new``."""
    known = set(old)
    last = ""
    behind: dict[str, list[str]] = {}
    for path in new:
        if path in known:
            last = path
        else:
            behind.setdefault(last, []).append(path)
    yield from behind.get("", [])
    for path in old:
        yield path
        yield from behind.get(path, [])
