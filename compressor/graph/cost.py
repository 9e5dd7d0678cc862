"""What a network costs by counting: parameters by the bits they take, multiply-accumulates by precision.

Conventions: a multiply-accumulate (MAC) is one product of a weight and a value in a convolution, a linear layer or a
matrix product; biases, normalisation, activations and pooling count none.
A normalisation layer has its scale and shift as parameters; running statistics are no parameters. All figures are for
one sample. Tied weights and shared leaves count their parameters once, their MACs at every call.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from torch import fx, nn
from torch.utils.flop_counter import FlopCounterMode

from compressor.graph.layers.table import kind_of
from compressor.graph.leaf import Cost, Leaf, Shape
from compressor.graph.network import Network
from compressor.graph.shape_rules.dry_run import dry_run_node, undisturbed, zeros
from compressor.graph.shape_rules.functions import operation

COUNTED_FUNCTIONS = frozenset({
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution", "linear",
    "matmul", "mm", "bmm", "addmm", "baddbmm", "einsum", "scaled_dot_product_attention",
})  # fmt: skip
"""Function nodes with multiply-accumulates: rare in a raised network, counted by running them."""


@dataclass(frozen=True)
class LayerCost:
    """One call of a leaf (or a counted function, or a bare parameter) and what it costs for one sample."""

    path: str
    kind: str
    """Class of the leaf, name of the function, or ``"Parameter"``."""
    input: Shape
    """Shape of the first input's sample."""
    output: Shape
    cost: Cost


def cost_of(module: nn.Module, *inputs: Shape) -> Cost:
    """Parameters and MACs of a module for one sample with these input shapes."""
    if isinstance(module, Leaf):
        return module.cost(*inputs)
    macs = _macs(module, *inputs)
    return Cost(_by_bits(list(module.parameters())), {_compute_bits(module): macs} if macs else {})


def layer_costs(network: Network) -> list[LayerCost]:
    """The cost of every call of a leaf, in execution order; what an earlier call already paid for is not paid again."""
    modules = dict(network.root.named_modules(remove_duplicate=False))
    counted: set[int] = set()
    costs: list[LayerCost] = []
    for node in network.graph.nodes:
        if node.op == "call_module":
            module = modules[str(node.target)]
            shapes = [shape for source in node.all_input_nodes if (shape := source.meta.get("shape")) is not None]
            cost = _without(cost_of(module, *shapes), module, counted)
            output = node.meta.get("shape") or ()
            costs.append(LayerCost(str(node.target), type(module).__name__, shapes[0] if shapes else (), output, cost))
        else:
            costs.extend(_bare_costs(network, node, counted))
    return costs


def network_cost(network: Network) -> Cost:
    """The sum over all layers, for one sample."""
    return functools.reduce(Cost.__add__, (layer.cost for layer in layer_costs(network)), Cost())


def _by_bits(parameters: list[nn.Parameter]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for parameter in parameters:
        bits = parameter.element_size() * 8
        counts[bits] = counts.get(bits, 0) + parameter.numel()
    return counts


def _compute_bits(module: nn.Module) -> int:
    return max((parameter.element_size() * 8 for parameter in module.parameters()), default=32)


def _macs(module: nn.Module, *inputs: Shape) -> int:
    if len(inputs) == 1 and (kind := kind_of(module)) is not None:
        return 0 if kind.macs is None else kind.macs(module, inputs[0])
    if not any(True for _ in module.parameters()):
        return 0
    with undisturbed(module), FlopCounterMode(display=False) as counter:
        module(*zeros(inputs, 2, module))
    return int(counter.get_total_flops()) // 4  # two samples, two operations per MAC


def _without(cost: Cost, module: nn.Module, counted: set[int]) -> Cost:
    """``cost`` less the parameters in ``counted``, to which the module's own are added.

    A ``Leaf`` states its widths itself, so it is paid for unless every parameter of it was.
    """
    parameters = list(module.parameters())
    fresh = [parameter for parameter in parameters if id(parameter) not in counted]
    counted.update(map(id, parameters))
    if len(fresh) == len(parameters):
        return cost
    if isinstance(module, Leaf):
        return cost if fresh else Cost(macs=cost.macs)
    return Cost(_by_bits(fresh), cost.macs)


def _bare_costs(network: Network, node: fx.Node, counted: set[int]) -> Iterator[LayerCost]:
    output: Shape = node.meta.get("shape") or ()
    if node.op == "get_attr":
        value = functools.reduce(getattr, str(node.target).split("."), network.root)
        if isinstance(value, nn.Parameter) and id(value) not in counted:
            counted.add(id(value))
            yield LayerCost(str(node.target), "Parameter", (), tuple(value.shape), Cost(_by_bits([value])))
    elif node.op in ("call_function", "call_method") and operation(node) in COUNTED_FUNCTIONS:
        with FlopCounterMode(display=False) as counter:
            dry_run_node(network.root, node)
        macs = int(counter.get_total_flops()) // 10  # batches of two and three samples, two operations per MAC
        source = node.all_input_nodes[0].meta.get("shape") if node.all_input_nodes else None
        yield LayerCost(node.name, operation(node), source or (), output, Cost(macs={32: macs}))
