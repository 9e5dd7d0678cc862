"""Function and method calls of the graph: sizes are followed, parameters computed, the rest is written by rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from compressor.errors import ExportError
from compressor.export.rules import FUNCTIONS
from compressor.export.rules.call import BatchSize, CallSite, RepeatedConstant
from compressor.graph.onnx_out.builder import GraphBuilder, Operand
from compressor.graph.shape_rules.functions import operation


def emit_call(builder: GraphBuilder, node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    """What the call yields: an ``Operand``, a list of them, a tensor of constants, or a number.

    ``values`` holds the same for every node before. Raises ``ExportError`` where there is no form.
    """
    inputs = [values[source] for source in node.all_input_nodes]
    call = CallSite(node, _operands(builder, node, values), values)
    if _asks_for_size(node):
        return _size(call)
    if not any(_holds(value, Operand) for value in inputs):
        return _computed(builder, node, values)
    arguments: Any = fx.node.map_arg(node.args, lambda source: values[source])
    if call.name == "getitem" and isinstance(arguments[0], list | tuple):
        return arguments[0][arguments[1]]
    rule = FUNCTIONS.get(call.name)
    if rule is None:
        raise ExportError("this operation has no ONNX form here")
    result = rule(builder, call)
    if isinstance(result, list):
        return [_item(node, index, value) for index, value in enumerate(result)]
    return operand_of(node, result)


def operand_of(node: fx.Node, value: Any) -> Operand:
    """The value of a node with all that is known of it."""
    return Operand(value, node.meta.get("shape"), node.meta.get("dtype"), node.meta.get("sizes"))


def _operands(builder: GraphBuilder, node: fx.Node, values: Mapping[fx.Node, Any]) -> dict[fx.Node, Any]:
    """The values a node takes, with constant tensors as initializers."""
    sources = {source: values[source] for source in node.all_input_nodes}
    if not any(_holds(value, Operand) for value in sources.values()):
        return sources
    return {
        source: constant_operand(builder, value) if isinstance(value, Tensor) else value
        for source, value in sources.items()
    }


def constant_operand(builder: GraphBuilder, value: Tensor) -> Operand:
    """A tensor that does not depend on the input, as a value of the graph."""
    return Operand(as_constant(builder, value), None, _kind(value), tuple(value.shape))


def as_constant(builder: GraphBuilder, value: Tensor) -> Any:
    """A tensor as an initializer: floats as float32, indices and flags as they are."""
    return builder.weight(value) if value.is_floating_point() else builder.constant(value)


def _kind(value: Tensor) -> torch.dtype | None:
    return None if value.is_floating_point() else value.dtype


def _asks_for_size(node: fx.Node) -> bool:
    name = operation(node)
    return name in ("size", "sym_size") or (name == "getattr" and node.args[1] == "shape")


def _size(call: CallSite) -> Any:
    value = call.argument(0, "input", "self")
    sizes = (
        tuple(value.shape) if isinstance(value, Tensor) else (BatchSize(call.operand().value), *call.operand().sample)
    )
    dim = call.argument(1, "dim")
    return sizes[dim] if isinstance(dim, int) else sizes


def _computed(builder: GraphBuilder, node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    """What depends on sizes and parameters alone is computed now; on the batch size, it stays unknown."""
    found: Any = fx.node.map_arg((node.args, node.kwargs), lambda source: values[source])
    arguments, named = found
    name = operation(node)
    if name == "getitem":
        return arguments[0][arguments[1]]
    if _holds((arguments, tuple(named.values())), RepeatedConstant):
        raise ExportError("an operation on a constant that is spread over the batch")
    if _holds((arguments, tuple(named.values())), BatchSize):
        return _spread(builder, node, arguments) if _holds(arguments, Tensor) else BatchSize()
    return _run(node, arguments, named)


def _run(node: fx.Node, arguments: Any, named: Any) -> Any:
    with torch.no_grad():
        if node.op == "call_method":
            return getattr(arguments[0], str(node.target))(*arguments[1:], **named)
        if callable(node.target):
            return node.target(*arguments, **named)
    raise ExportError("this operation has no ONNX form here")


def _spread(builder: GraphBuilder, node: fx.Node, arguments: Any) -> Operand | RepeatedConstant:
    """A constant repeated along the batch: computed for one sample, and expanded where the batch comes first."""
    if operation(node) not in ("expand", "repeat"):
        raise ExportError("a parameter is spread over the batch")
    sizes = _flat(arguments[1:])
    one = _run(node, (arguments[0], [1 if isinstance(size, BatchSize) else size for size in sizes]), {})
    if not isinstance(sizes[0], BatchSize):
        return RepeatedConstant(one)
    if sizes[0].of is None or one.shape[0] != 1:
        raise ExportError("a constant is spread over something computed from the batch")
    count = builder.op("Shape", [sizes[0].of], start=0, end=1)
    wanted = builder.op("Concat", [count, builder.integers(one.shape[1:])], axis=0) if one.dim() > 1 else count
    value = builder.op("Expand", [as_constant(builder, one), wanted])
    return Operand(value, tuple(one.shape[1:]), _kind(one))


def _flat(sizes: Any) -> list[Any]:
    return list(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], list | tuple) else list(sizes)


def _holds(value: Any, kind: type) -> bool:
    if isinstance(value, list | tuple):
        return any(_holds(item, kind) for item in value)
    return isinstance(value, kind)


def _item(node: fx.Node, index: int, value: Any) -> Operand:
    """One of several results; what is known of it is known at the node that takes it out."""
    for user in node.users:
        if operation(user) == "getitem" and user.args[1] == index:
            return operand_of(user, value)
    return Operand(value, None)
