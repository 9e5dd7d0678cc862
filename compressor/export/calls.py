"""Function and method calls of the graph: sizes are followed, parameters computed, the rest is written by rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from compressor.errors import ExportError
from compressor.export.builder import GraphBuilder, Operand
from compressor.export.rules import FUNCTIONS
from compressor.export.rules.call import BatchSize, Call
from compressor.graph.leaf import Shape
from compressor.graph.shape_rules.functions import operation


def emit_call(builder: GraphBuilder, node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    """What the call yields: an ``Operand``, a list of them, a tensor of constants, or a number.

    ``values`` holds the same for every node before. Raises ``ExportError`` where there is no form.
    """
    inputs = [values[source] for source in node.all_input_nodes]
    call = Call(node, _operands(builder, node, values), values)
    if _asks_for_size(node):
        return _size(call)
    if not any(_holds(value, Operand) for value in inputs):
        return _computed(node, values)
    arguments: Any = fx.node.map_arg(node.args, lambda source: values[source])
    if call.name == "getitem" and isinstance(arguments[0], list | tuple):
        return arguments[0][arguments[1]]
    rule = FUNCTIONS.get(call.name)
    if rule is None:
        raise ExportError("this operation has no ONNX form here")
    result = rule(builder, call)
    if isinstance(result, list):
        return [Operand(value, _item_shape(node, index)) for index, value in enumerate(result)]
    return Operand(result, node.meta.get("shape"))


def _operands(builder: GraphBuilder, node: fx.Node, values: Mapping[fx.Node, Any]) -> dict[fx.Node, Any]:
    """The values a node takes, with constant tensors as initializers."""
    sources = {source: values[source] for source in node.all_input_nodes}
    if not any(_holds(value, Operand) for value in sources.values()):
        return sources
    return {
        source: Operand(as_constant(builder, value), None) if isinstance(value, Tensor) else value
        for source, value in sources.items()
    }


def as_constant(builder: GraphBuilder, value: Tensor) -> Any:
    """A tensor as an initializer: floats as float32, indices and flags as they are."""
    return builder.weight(value) if value.is_floating_point() else builder.constant(value)


def _asks_for_size(node: fx.Node) -> bool:
    name = operation(node)
    return name in ("size", "sym_size") or (name == "getattr" and node.args[1] == "shape")


def _size(call: Call) -> Any:
    value = call.argument(0, "input", "self")
    sizes = tuple(value.shape) if isinstance(value, Tensor) else (BatchSize(), *call.operand().sample)
    dim = call.argument(1, "dim")
    return sizes[dim] if isinstance(dim, int) else sizes


def _computed(node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    """What depends on sizes and parameters alone is computed now; on the batch size, it stays unknown."""
    found: Any = fx.node.map_arg((node.args, node.kwargs), lambda source: values[source])
    arguments, named = found
    name = operation(node)
    if name == "getitem":
        return arguments[0][arguments[1]]
    if _holds((arguments, tuple(named.values())), BatchSize):
        if _holds(arguments, Tensor):
            raise ExportError("a parameter is spread over the batch")
        return BatchSize()
    with torch.no_grad():
        if node.op == "call_method":
            return getattr(arguments[0], str(node.target))(*arguments[1:], **named)
        if callable(node.target):
            return node.target(*arguments, **named)
    raise ExportError("this operation has no ONNX form here")


def _holds(value: Any, kind: type) -> bool:
    if isinstance(value, list | tuple):
        return any(_holds(item, kind) for item in value)
    return isinstance(value, kind)


def _item_shape(node: fx.Node, index: int) -> Shape | None:
    """The shape of one of several results, known at the node that takes it out."""
    for user in node.users:
        if operation(user) == "getitem" and user.args[1] == index:
            shape: Shape | None = user.meta.get("shape")
            return shape
    return None
