"""A network as data that goes to another process and is there what it was: graph, names, shapes, ties and modes.

``torch.fx`` pickles a module's code and traces it anew, which loses what the nodes know, and cannot pickle every
function. Here a node is a row that refers to others by name, and a function is the name it is found under.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import fx, nn
from torch.fx.node import _get_qualified_name

from compressor.graph.network import Network
from compressor.graph.signature import Signature


@dataclass(frozen=True)
class _Reference:
    """A node, by name."""

    name: str


@dataclass(frozen=True)
class _Function:
    """A function, by where it is found: ``torch.nn.functional.relu``."""

    place: str


@dataclass(frozen=True)
class _Row:
    """A node."""

    op: str
    name: str
    target: str | _Function
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    meta: Mapping[str, Any]


@dataclass(frozen=True)
class PackedNetwork:
    """What ``pack_network`` makes: it pickles, as far as the network's leaves do."""

    children: Mapping[str, nn.Module | None]
    parameters: Mapping[str, nn.Parameter | None]
    buffers: Mapping[str, Any]
    modes: Mapping[str, bool]
    """Whether each part is in training mode, by path."""
    rows: tuple[_Row, ...]
    signature: Signature
    source: str
    notes: tuple[str, ...]


def pack_network(network: Network) -> PackedNetwork:
    """The network as data; tensors and leaves are shared with it."""
    module = network.module
    return PackedNetwork(
        dict(module._modules),
        dict(module._parameters),
        dict(module._buffers),
        {name: part.training for name, part in module.named_modules(remove_duplicate=False)},
        tuple(map(_row, module.graph.nodes)),
        network.signature,
        network.source,
        network.notes,
    )


def unpack_network(packed: PackedNetwork) -> Network:
    """The network that was packed."""
    root, graph, nodes = nn.Module(), fx.Graph(), dict[str, fx.Node]()
    root._modules.update(packed.children)
    root._parameters.update(packed.parameters)
    root._buffers.update(packed.buffers)
    for row in packed.rows:
        args, kwargs = _map((row.args, row.kwargs), lambda part: _meant(part, nodes))
        target = _found(row.target.place) if isinstance(row.target, _Function) else row.target
        node = graph.create_node(row.op, target, args, kwargs, row.name)
        node.meta.update(row.meta)
        nodes[row.name] = node
    module = fx.GraphModule(root, graph)
    for name, part in module.named_modules(remove_duplicate=False):
        part.training = packed.modes[name]
    return Network(module, packed.signature, packed.source, packed.notes)


def _row(node: fx.Node) -> _Row:
    target = node.target if isinstance(node.target, str) else _Function(_get_qualified_name(node.target))
    args, kwargs = _map((node.args, node.kwargs), _named)
    return _Row(node.op, node.name, target, args, kwargs, dict(node.meta))


def _named(part: Any) -> Any:
    return _Reference(part.name) if isinstance(part, fx.Node) else part


def _meant(part: Any, nodes: Mapping[str, fx.Node]) -> Any:
    return nodes[part.name] if isinstance(part, _Reference) else part


def _map(value: Any, change: Callable[[Any], Any]) -> Any:
    """``value`` with every part of it that holds no others changed."""
    match value:
        case slice(start=start, stop=stop, step=step):
            return slice(_map(start, change), _map(stop, change), _map(step, change))
        case tuple():
            return tuple(_map(part, change) for part in value)
        case list():
            return [_map(part, change) for part in value]
        case Mapping():
            return {key: _map(part, change) for key, part in value.items()}
    return change(value)


def _found(place: str) -> Any:
    """What is found under a dotted name, whose first parts are a module."""
    parts = place.split(".")
    found = importlib.import_module(parts[0])
    for part in parts[1:]:
        found = getattr(found, part)
    return found
