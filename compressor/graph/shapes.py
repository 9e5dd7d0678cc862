"""Shapes of every value in a network: by rule where there is one, else by running the node on zeros.

``node.meta["shape"]`` is the shape of one sample, so no batch size appears anywhere; None marks values that are no
batch of samples. After an edit only the changed nodes are visited, and those behind them for as long as shapes differ.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import fx, nn

from compressor.errors import GraphError
from compressor.graph.layers.table import kind_of
from compressor.graph.leaf import Leaf, Shape
from compressor.graph.network import Network
from compressor.graph.shape_rules.dry_run import dry_run_module, dry_run_node, forget
from compressor.graph.shape_rules.functions import _NoRule, function_shape
from compressor.graph.signature import TensorSpec, unique


def shape_of(module: nn.Module, *inputs: Shape) -> Shape:
    """Shape of one output sample of ``module`` for input samples of these shapes.

    Raises ``GraphError`` where the module does not take such samples.
    """
    if isinstance(module, Leaf):
        return tuple(module.output_shape(*inputs))
    kind = kind_of(module) if len(inputs) == 1 else None
    return dry_run_module(module, *inputs) if kind is None or kind.shape is None else kind.shape(module, inputs[0])


def propagate(network: Network, dirty: Iterable[fx.Node] | None = None) -> None:
    """Bring ``meta["shape"]`` up to date: of all nodes, or of ``dirty`` ones and what follows while shapes differ.

    Raises ``GraphError`` naming the first node whose inputs do not fit it. Time grows with the nodes visited.
    """
    misfits = settle(network, network.graph.nodes if dirty is None else dirty)
    if misfits:
        raise misfits[min(misfits)]
    if not network.signature.outputs:
        describe_outputs(network)


def describe_input(node: fx.Node, spec: TensorSpec) -> None:
    """What is known of an input, at its placeholder."""
    forget(node)
    node.meta["shape"] = spec.shape
    if not spec.dtype.is_floating_point:
        node.meta["dtype"] = spec.dtype


def describe_outputs(network: Network, names: Sequence[str] | None = None) -> None:
    """Write the outputs into the signature of a network whose shapes are known. ``names``: other than their keys."""
    known = network.signature
    fresh = unique(list(names or known.nesting.names()), [spec.name for spec in known.inputs])
    outputs = tuple(
        TensorSpec(name, node.meta.get("shape") or (), node.meta.get("dtype", torch.float32))
        for name, node in zip(fresh, network.output_nodes, strict=True)
    )
    network.signature = replace(known, outputs=outputs)


def settle(network: Network, dirty: Iterable[fx.Node]) -> dict[fx.Node, GraphError]:
    """As ``propagate``, but goes around nodes whose inputs do not fit and returns them, with the reasons.

    What follows a misfit keeps its old shapes until the misfit is settled in a later call.
    """
    misfits: dict[fx.Node, GraphError] = {}
    queue = [node for node in set(dirty) if not node._erased]
    heapq.heapify(queue)  # nodes order by their place in the graph
    queued = set(queue)
    while queue:
        node = heapq.heappop(queue)
        queued.discard(node)
        before = node.meta.get("shape")
        try:
            node.meta["shape"] = _node_shape(network, node)
        except GraphError as error:
            misfits[node] = GraphError(f"node {node.name} ({node.target}): {error}")
            continue
        if node.meta["shape"] is None or node.meta["shape"] != before:
            fresh = set(node.users) - queued
            queued |= fresh
            for user in fresh:
                heapq.heappush(queue, user)
    return misfits


def input_shapes(node: fx.Node) -> list[Shape]:
    """Sample shapes of the values a node takes. Raises ``GraphError`` where one is no batch of samples."""
    return [Network.shape(source) for source in node.all_input_nodes]


def _node_shape(network: Network, node: fx.Node) -> Shape | None:
    match node.op:
        case "placeholder":
            spec = network.signature.inputs[network.input_nodes.index(node)]
            describe_input(node, spec)
            return spec.shape
        case "get_attr":
            return None
        case "output":
            nodes = network.output_nodes
            return nodes[0].meta.get("shape") if len(nodes) == 1 else None
        case "call_module":
            return _module_call_shape(network, node)
    answer = function_shape(node)
    if isinstance(answer, _NoRule):
        return dry_run_node(network.root, node)
    forget(node)
    return answer


def _module_call_shape(network: Network, node: fx.Node) -> Shape | None:
    module = network.leaf(str(node.target))
    shapes = [argument.meta.get("shape") for argument in node.args if isinstance(argument, fx.Node)]
    known = [shape for shape in shapes if shape is not None]
    real = not any("dtype" in source.meta for source in node.all_input_nodes)
    if len(known) != len(node.args) or node.kwargs or not real:
        return dry_run_node(network.root, node)
    forget(node)
    return shape_of(module, *known)
