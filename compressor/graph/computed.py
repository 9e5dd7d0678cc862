"""Weights that a network computes anew at each call: weight_norm, spectral_norm, masks, weight standardisation.

A trace keeps them as they are, and so trains what the source trains; but a layer whose weight is computed cannot be
pruned or stored in fewer bits. Folded, its weight is the number that was computed: the same function in eval mode, and
a plain weight in training, which nothing holds to the form that it had.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, fx, nn

from compressor.graph.cleanup import remove_dead_nodes, remove_unused_modules
from compressor.graph.layers.table import CAPTURED, WITH_TENSORS
from compressor.graph.network import Network
from compressor.graph.shape_rules.functions import operation
from compressor.graph.shapes import propagate
from compressor.graph.traced.call import Call
from compressor.graph.traced.layer import Layer
from compressor.graph.traced.program import BATCH, Op, Program, ValueRef

_LAYERS: Final = frozenset({
    "conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear",
})  # fmt: skip
_SMOOTH: Final = frozenset({
    "_weight_norm", "add", "addcdiv", "addcmul", "batch_norm", "bmm", "clamp", "clamp_min", "clone", "contiguous",
    "div", "dot", "einsum", "exp", "expand", "expand_as", "eye", "flatten", "getitem", "group_norm",
    "instance_norm", "layer_norm", "linalg_matrix_exp", "linalg_matrix_norm", "linalg_norm", "linalg_vector_norm",
    "matmul", "matrix_exp", "maximum", "mean", "mm", "mul", "mv", "neg", "norm", "outer", "pad", "permute", "pow",
    "reciprocal", "reshape", "rms_norm", "rsqrt", "select", "slice", "sqrt", "square", "squeeze", "std", "std_mean",
    "sub", "sum", "t", "transpose", "tril", "triu", "truediv", "unsqueeze", "var", "var_mean", "vdot", "view",
})  # fmt: skip
"""What scales, normalises and moves weights. What rounds them or decides by them makes weights of a kind of its own,
which training must keep."""


_MOVED: Final = frozenset({
    "clone", "contiguous", "flatten", "permute", "reshape", "squeeze", "t", "transpose", "unsqueeze", "view",
})  # fmt: skip
"""What leaves every number as it is: such a weight trains as it did."""


@dataclass(frozen=True)
class Computed:
    """A call of a layer whose weight or bias is computed from trained tensors alone."""

    node: fx.Node
    path: str
    """Where the layer was in the source."""
    by: tuple[str, ...]
    """The operations that make the weight, in their order."""

    @property
    def folds(self) -> bool:
        return _SMOOTH.issuperset(self.by)

    @property
    def reason(self) -> str:
        """Why a plugin that changes weights does not act here, and what to do."""
        said = f"its weight is computed anew at each call ({', '.join(self.by)})"
        if self.folds:
            return f"{said}; compressor.graph.computed.fold_weights(network) makes a plain weight of it"
        return f"{said}, in a way that a plain weight would not train"


def computed_weights(network: Network) -> Iterator[Computed]:
    """Every such call, in execution order."""
    for node in network.graph.nodes:
        if node.op != "call_function" or operation(node) not in _LAYERS:
            continue
        given = (_arguments(node).get(name) for name in ("weight", "bias"))
        computed = [value for value in given if isinstance(value, fx.Node) and value.op != "get_attr"]
        made = sorted(set().union(*map(_made_of, computed)))
        read = [str(source.target) for source in made if source.op == "get_attr"]
        trained = [path for path in read if isinstance(_tensor(network, path), nn.Parameter)]
        if trained and all(source.op in ("get_attr", "call_function") for source in made):
            by = tuple(dict.fromkeys(operation(source) for source in made if source.op == "call_function"))
            yield Computed(node, _home(trained[0]), by)


def constant_layers(network: Network) -> Iterator[Computed]:
    """Calls of layers whose weights nobody trains, in execution order: kernels that blur, as anti-aliasing has them."""
    for node in network.graph.nodes:
        if node.op != "call_function" or operation(node) not in _LAYERS:
            continue
        given = [_arguments(node).get(name) for name in ("weight", "bias")]
        made = sorted(set().union(*(_made_of(value) for value in given if isinstance(value, fx.Node))))
        read = [str(source.target) for source in made if source.op == "get_attr"]
        trained = any(isinstance(_tensor(network, path), nn.Parameter) for path in read)
        if read and not trained and all(source.op in ("get_attr", "call_function") for source in made):
            yield Computed(node, _home(read[0]), ())


def unseen_layers(network: Network) -> Iterator[tuple[str, str]]:
    """Layers that are no leaves, so that no plugin sees them: where they were in the source, and why they are none."""
    computed = {found.node: found for found in computed_weights(network)}
    for node in network.graph.nodes:
        if node in computed:
            yield computed[node].path, computed[node].reason
        elif node.op == "call_function" and operation(node) in _LAYERS:
            weight, source = _arguments(node).get("weight"), node.args[0]
            if not isinstance(weight, fx.Node) or weight.op != "get_attr" or not isinstance(source, fx.Node):
                continue
            if isinstance(_tensor(network, str(weight.target)), nn.Parameter) and source.meta.get("shape") is None:
                yield _home(str(weight.target)), "its input has the batch elsewhere than in the first dimension"


def fold_weights(network: Network) -> Network:
    """The network, changed in place: computed weights become plain ones where that is sound, and its notes say so.

    Constant ones become weights that do not train.
    """
    folding = _Folding(network)
    calls = [*computed_weights(network), *constant_layers(network)]
    found = [computed for computed in calls if computed.folds and folding.fold(computed)]
    if found:
        folding.settle()
    found = [computed for computed in found if not _MOVED.issuperset(computed.by)]
    if not found:
        return network
    paths = list(dict.fromkeys(computed.path for computed in found))
    named = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    by = ", ".join(dict.fromkeys(name for computed in found for name in computed.by))
    network.notes += (
        f"the weights of {named} are computed anew at each call ({by}); here they are folded: they train as plain "
        "weights, and neither a norm nor zeros of a mask are kept in training",
    )
    return network


class _Folding:
    """Weights that are computed alike stay tied, and layers that are called several times stay one."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.weights: dict[Hashable, nn.Parameter] = {}
        self.layers: dict[Hashable, str] = {}
        self.homes: dict[str, str] = {}

    def fold(self, computed: Computed) -> bool:
        """Put a layer in the place of the call, under a name for the time being; whether there is such a layer."""
        node, arguments = computed.node, _arguments(computed.node)
        source = next(iter(arguments.values()))
        if not isinstance(source, fx.Node) or source.meta.get("shape") is None:
            return False
        tensors = {name: self._value(arguments[name]) for name in ("weight", "bias") if arguments.get(name) is not None}
        layer = _layer(node, source, tensors)
        if layer is None:
            return False
        key = (str(layer.module), *((name, id(tensor)) for name, tensor in tensors.items()))
        if key not in self.layers:
            for name, tensor in tensors.items():
                layer.module.register_parameter(name, tensor)
            self.layers[key] = f"folded_{len(self.layers)}"
            self.homes[self.layers[key]] = computed.path
            self.network.module.add_submodule(self.layers[key], layer.module.eval())
        with self.network.graph.inserting_after(node):
            call = self.network.graph.call_module(self.layers[key], (source,))
        call.meta = dict(node.meta)
        node.replace_all_uses_with(call)
        self.network.graph.erase_node(node)
        return True

    def settle(self) -> None:
        """Take away what made the weights, and put the layers where they were in the source."""
        network = self.network
        remove_dead_nodes(network.graph)
        remove_unused_modules(network.module)
        taken = {str(node.target) for node in network.graph.nodes if node.op in ("call_module", "get_attr")}
        for temporary, home in self.homes.items():
            path, count = home, 0
            while _clashes(path, taken):
                count += 1
                path = f"{home.replace('.', '_')}_{count}"
            taken.add(path)
            layer = network.leaf(temporary)
            delattr(network.module, temporary)
            network.module.add_submodule(path, layer)
            for node in network.calls_of(temporary):
                node.target = path
        network.graph.lint()
        network.rewired()
        propagate(network)

    def _value(self, argument: fx.Node) -> nn.Parameter:
        """The tensor that a node holds, as a parameter."""
        if argument.op == "get_attr":
            held = _tensor(self.network, str(argument.target))
            key: Hashable = id(held)
            if isinstance(held, nn.Parameter):
                return held
        else:
            key = self._key(argument)
        if key not in self.weights:
            self.weights[key] = self._computed(argument)
        return self.weights[key]

    def _computed(self, last: fx.Node) -> nn.Parameter:
        values: dict[fx.Node, Any] = {}
        trained = False
        with torch.no_grad():
            for node in sorted(_made_of(last)):
                if node.op == "get_attr":
                    values[node] = _tensor(self.network, str(node.target))
                    trained |= isinstance(values[node], nn.Parameter) and values[node].requires_grad
                else:
                    arguments, named = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
                    values[node] = node.target(*arguments, **named)  # type: ignore[operator]
        return nn.Parameter(values[last].detach().clone(), trained)

    def _key(self, node: fx.Node) -> Hashable:
        """The same for weights that are computed by the same operations from the same tensors."""
        if node.op == "get_attr":
            return id(_tensor(self.network, str(node.target)))
        keys = [self._key(source) for source in node.all_input_nodes]
        places = {source: place for place, source in enumerate(node.all_input_nodes)}
        shape = fx.node.map_arg((node.args, node.kwargs), lambda source: f"#{places[source]}")
        return str(node.target), repr(shape), tuple(keys)


def _layer(node: fx.Node, source: fx.Node, tensors: dict[str, nn.Parameter]) -> Layer | None:
    """The module that computes what the call computes with these tensors, by the rules of raising."""
    arguments = {name: value for name, value in _arguments(node).items() if name not in ("weight", "bias")}
    first = next(iter(arguments))
    given = {**arguments, first: ValueRef("input"), **{name: ValueRef(name) for name in tensors}}
    if any(isinstance(value, fx.Node) for value in given.values()):
        return None
    op = Op(str(node.target), given, "output")
    program = Program(
        inputs=("input",),
        outputs=("output",),
        ops=(op,),
        state={name: name for name in tensors},
        tensors=tensors,
        parameters=frozenset(tensors),
        sizes={"input": (BATCH, *source.meta["shape"])},
    )
    base = ".".join(str(node.target).split(".")[:2])
    return CAPTURED[base](Call(op, program)) if base in WITH_TENSORS else None


def _arguments(node: fx.Node) -> dict[str, Any]:
    """Arguments by their names in the operator's schema."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return {}
    names = [argument.name for argument in node.target._schema.arguments]
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def _made_of(last: fx.Node) -> set[fx.Node]:
    """The nodes that a value is computed from, itself included."""
    made = {last}
    waiting = [last]
    while waiting:
        for source in waiting.pop().all_input_nodes:
            if source not in made:
                made.add(source)
                waiting.append(source)
    return made


def _tensor(network: Network, path: str) -> Tensor:
    owner, _, name = path.rpartition(".")
    tensor: Tensor = getattr(network.module.get_submodule(owner), name)
    return tensor


def _home(path: str) -> str:
    """Path of the layer that a tensor was kept in: ``conv.parametrizations.weight.original0`` → ``conv``."""
    home = path.partition(".parametrizations.")[0] if ".parametrizations." in path else path.rpartition(".")[0]
    return home or path


def _clashes(path: str, taken: set[str]) -> bool:
    """Whether something is at the path, above it or below it."""
    return not path or any(
        other == path or other.startswith(f"{path}.") or path.startswith(f"{other}.") for other in taken
    )
