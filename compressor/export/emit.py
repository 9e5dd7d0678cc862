"""From a network to the bytes of an ONNX file, directly: no tracing, no side file, 0.01 s for a small CNN.

The file holds what inference needs and nothing else: BatchNorm folded, dropout gone, equal initializers shared, no
intermediate shapes or documentation. Its only metadata say how pixels become its input, where that is known: mean, std,
scale and layout. The batch dimension is dynamic; node names carry leaf paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from compressor.errors import ExportError, GraphError
from compressor.export.builder import GraphBuilder, Operand
from compressor.export.calls import constant_operand, described, emit_call
from compressor.export.fold import standing_modules
from compressor.export.normalise import normalised_input
from compressor.export.rules import rule_for
from compressor.graph.leaf import Leaf, OnnxValue
from compressor.graph.network import Network
from compressor.graph.shape_rules.functions import operation
from compressor.graph.shapes import shape_of


def to_onnx(network: Network, *, opset: int = 20) -> bytes:
    """The network in eval mode as an ONNX file: input ``network.spec.name``, output "output", float32.

    The network stays as it is. Raises ``ExportError`` naming the node that has no ONNX form.
    """
    builder = GraphBuilder(opset)
    modules = standing_modules(network)
    entry = builder.input(network.spec.name, network.spec.shape)
    prepared = normalised_input(builder, network, modules, entry)
    values: dict[fx.Node, Any] = {network.input_node: Operand(prepared, network.spec.shape)}
    needed = _needed(network)
    for node in network.graph.nodes:
        if node in needed and node not in values:
            values[node] = _emit(builder, network, node, modules, values)
    result = values[network.output_node]
    if not isinstance(result, Operand):
        raise ExportError("the network does not return a batch of samples")
    if result.kind is not None:
        raise ExportError(f"the network answers with {str(result.kind).removeprefix('torch.')}, not with real numbers")
    known = network.spec.normalisation
    return builder.model([entry], result.value, result.sample, known.metadata() if known is not None else {})


def _needed(network: Network) -> set[fx.Node]:
    """Every node the output depends on."""
    needed: set[fx.Node] = set()
    pending = [network.output_node]
    while pending:
        node = pending.pop()
        if node not in needed:
            needed.add(node)
            pending.extend(node.all_input_nodes)
    return needed


def _emit(
    builder: GraphBuilder,
    network: Network,
    node: fx.Node,
    modules: dict[fx.Node, nn.Module],
    values: dict[fx.Node, Any],
) -> Any:
    """What the node yields: an operand, a list of them, a tensor of constants, or a number."""
    try:
        with builder.scope(str(node.target) if node.op == "call_module" else f"/{node.name}"):
            if node.op == "get_attr":
                return _attribute(network, str(node.target))
            if node.op != "call_module":
                return emit_call(builder, node, values)
            inputs = [_operand(builder, values[source]) for source in node.all_input_nodes]
            if len(inputs) != len(node.args) or node.kwargs:
                raise ExportError("a layer takes tensors only")
            return described(node, emit_module(builder, modules[node], inputs))
    except (ExportError, GraphError) as error:
        raise ExportError(f"{_title(node, modules)}: {error}") from error


def emit_module(builder: GraphBuilder, module: nn.Module, inputs: Sequence[Operand]) -> OnnxValue:
    """Write one module: a plugin's leaf by itself, a torch layer by its rule, a chain link by link."""
    if isinstance(module, Leaf):
        return module.emit(builder, [operand.value for operand in inputs])
    if len(inputs) != 1:
        raise ExportError(f"{len(inputs)} inputs where one is expected")
    (operand,) = inputs
    if type(module) is nn.Sequential:
        for link in module:
            operand = Operand(emit_module(builder, link, [operand]), shape_of(link, operand.sample))
        return operand.value
    rule = rule_for(module)
    if rule is None:
        raise ExportError("this kind of layer has no ONNX form; a class derived from Leaf brings its own")
    return rule(builder, module, operand)


def _operand(builder: GraphBuilder, value: Any) -> Operand:
    if isinstance(value, Tensor):
        return constant_operand(builder, value)
    if not isinstance(value, Operand):
        raise ExportError("a layer takes tensors only")
    return value


def _attribute(network: Network, path: str) -> Tensor:
    owner, _, name = path.rpartition(".")
    value = getattr(network.module.get_submodule(owner), name, None)
    if not isinstance(value, Tensor):
        raise ExportError(f"{path} is no tensor")
    return value.detach()


def _title(node: fx.Node, modules: dict[fx.Node, nn.Module]) -> str:
    if node.op == "call_module":
        return f"layer {node.target} ({type(modules[node]).__name__})"
    known = isinstance(node.target, str | torch._ops.OpOverload)
    return f"node {node.name} ({node.target if known else operation(node)})"
