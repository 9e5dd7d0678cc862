"""How the layers of an ONNX file hang together: which leaf feeds which, with everything between them left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import onnx

from compressor.graph.onnx_out.builder import leaf_of

_JOINS = ("Add", "Sum", "Concat", "Mul", "Sub", "Div", "Max", "Min", "MatMul", "Einsum")
"""Operators that bring several paths together, and are shown where they do."""


@dataclass(frozen=True)
class Wiring:
    """``order``: leaves and joins as they are executed; ``edges``: from one to the next, by their names."""

    order: tuple[str, ...] = ()
    edges: tuple[tuple[str, str], ...] = ()
    joins: Mapping[str, str] = field(default_factory=dict)
    """Operators of the nodes that are no leaf and bring several paths together, by name."""

    def only(self, kept: Collection[str]) -> Wiring:
        """The same without the others: what fed one of them feeds what it fed."""
        sources = _sources(self)
        edges = {
            (origin, name): None for name in self.order if name in kept for origin in _nearest(name, sources, kept)
        }
        joins = {name: operator for name, operator in self.joins.items() if name in kept}
        return Wiring(tuple(name for name in self.order if name in kept), tuple(edges), joins)


def wiring(model: bytes) -> Wiring:
    """The wiring of an ONNX file. A leaf that is called again is another one each time: ``relu``, ``relu call 2``."""
    owners: dict[str, frozenset[str]] = {}
    fed: dict[str, set[str]] = {}
    calls: dict[str, int] = {}
    edges: dict[tuple[str, str], None] = {}
    joins: dict[str, str] = {}
    for node in onnx.load_from_string(model).graph.node:
        feeding = {origin for value in node.input for origin in owners.get(value, ())}
        name = _call(leaf_of(node.name), feeding, fed, calls)
        if not name and node.op_type in _JOINS and len(feeding) > 1:
            name = node.name
            joins[name] = node.op_type
        if name:
            fed.setdefault(name, set()).update(feeding - {name})
            edges.update({(origin, name): None for origin in sorted(feeding - {name})})
        owners.update(dict.fromkeys(node.output, frozenset((name,)) if name else frozenset(feeding)))
    return Wiring(tuple(fed), tuple(edges), joins)


def _call(path: str, feeding: set[str], fed: Mapping[str, set[str]], calls: dict[str, int]) -> str:
    """Which call of a leaf a node belongs to: the last one, unless what feeds it is nothing of that call's."""
    number = calls.setdefault(path, 1)
    name = path if number == 1 else f"{path} call {number}"
    if path and fed.get(name) and name not in feeding and not feeding <= fed[name]:
        calls[path] = number + 1
        return f"{path} call {number + 1}"
    return name


def _sources(found: Wiring) -> dict[str, list[str]]:
    sources: dict[str, list[str]] = {}
    for origin, name in found.edges:
        sources.setdefault(name, []).append(origin)
    return sources


def _nearest(name: str, sources: Mapping[str, list[str]], kept: Collection[str]) -> list[str]:
    """The kept ones that feed ``name``, through any that are not kept."""
    found: dict[str, None] = {}
    seen = {name}
    waiting = list(sources.get(name, ()))
    while waiting:
        origin = waiting.pop()
        if origin in seen:
            continue
        seen.add(origin)
        if origin in kept:
            found[origin] = None
        else:
            waiting.extend(sources.get(origin, ()))
    return list(found)
