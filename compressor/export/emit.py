"""From a network to the bytes of an ONNX file, directly: no tracing, no side file, 0.01 s for a small CNN.

The file holds what inference needs and nothing else: BatchNorm folded, dropout gone, equal initializers shared, no
intermediate shapes or documentation. Its only metadata say how pixels become its input, where that is known: mean, std,
scale and layout. The batch dimension is dynamic; node names carry leaf paths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from compressor.errors import ExportError, GraphError
from compressor.export.calls import constant_operand, emit_call, operand_of
from compressor.export.fold import standing_modules
from compressor.export.normalise import normalised_input
from compressor.export.rules.layer import write_layer
from compressor.graph.leaf import Leaf, OnnxValue
from compressor.graph.network import Network
from compressor.graph.onnx_out.builder import GraphBuilder, GraphOutput, Operand
from compressor.graph.shape_rules.functions import operation
from compressor.graph.shapes import shape_of
from compressor.graph.signature import TensorSpec


def to_onnx(network: Network, *, opset: int = 20) -> bytes:
    """The network in eval mode as an ONNX file, whose inputs and outputs are those of its signature.

    The network stays as it is. Raises ``ExportError`` naming the node that has no ONNX form.
    """
    signature = network.signature
    builder, entries, values = _written(network, opset)
    outputs = [_output(spec, values[node]) for spec, node in zip(signature.outputs, network.output_nodes, strict=True)]
    known = signature.normalisation
    return builder.model(entries, outputs, known.metadata() if known is not None else {})


def value_names(network: Network, *, opset: int = 20) -> Mapping[fx.Node, str]:
    """What the values of a network are called in its file; of its outputs, what the signature calls them."""
    _, _, values = _written(network, opset)
    names = {node: str(value.value.name) for node, value in values.items() if isinstance(value, Operand)}
    outputs = zip(network.output_nodes, network.signature.outputs, strict=True)
    shown = {names[node]: spec.name for node, spec in outputs if node in names}
    return {node: shown.get(name, name) for node, name in names.items()}


def _written(network: Network, opset: int) -> tuple[GraphBuilder, list[OnnxValue], dict[fx.Node, Any]]:
    """The nodes of the file, its inputs, and what every node of the network yields there."""
    signature = network.signature
    builder = GraphBuilder(opset, [spec.name for spec in (*signature.inputs, *signature.outputs)])
    modules = standing_modules(network)
    entries = [builder.input(spec.name, spec.shape, spec.dtype) for spec in signature.inputs]
    values: dict[fx.Node, Any] = {
        node: Operand(entry, spec.shape, None if spec.dtype.is_floating_point else spec.dtype)
        for node, entry, spec in zip(network.input_nodes, entries, signature.inputs, strict=True)
    }
    values[network.input_nodes[0]] = replace(
        values[network.input_nodes[0]], value=normalised_input(builder, network, modules, entries[0])
    )
    needed = _needed(network)
    for node in network.graph.nodes:
        if node in needed and node not in values:
            values[node] = _emit(builder, network, node, modules, values)
    return builder, entries, values


def _output(spec: TensorSpec, value: Any) -> GraphOutput:
    if not isinstance(value, Operand):
        raise ExportError(f"the network's output {spec.name!r} is no batch of samples")
    return GraphOutput(spec.name, value.value, value.sample, value.kind or torch.float32)


def _needed(network: Network) -> set[fx.Node]:
    """Every node the outputs depend on."""
    needed: set[fx.Node] = set()
    pending = list(network.output_nodes)
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
            return operand_of(node, emit_module(builder, modules[node], inputs))
    except (ExportError, GraphError) as error:
        raise ExportError(f"{_title(node, modules)}: {error}") from error


def emit_module(builder: GraphBuilder, module: nn.Module, inputs: Sequence[Operand]) -> OnnxValue:
    """Write one module: a plugin's leaf by itself, a torch layer by its kind, a chain link by link."""
    if isinstance(module, Leaf):
        return module.emit(builder, [operand.value for operand in inputs])
    if len(inputs) != 1:
        raise ExportError(f"{len(inputs)} inputs where one is expected")
    (operand,) = inputs
    if type(module) is nn.Sequential:
        for link in module:
            operand = Operand(emit_module(builder, link, [operand]), shape_of(link, operand.sample))
        return operand.value
    return write_layer(builder, module, operand)


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
