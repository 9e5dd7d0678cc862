"""Parts of a forward that run under a context of their own, written out in line.

What is computed under ``no_grad`` passes no gradient on: its results are detached where they leave the region. A region
without autocast, and one that is only checkpointed, is its operations. All else is control flow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, fx

from compressor.errors import CaptureError

_PLAIN: Final = ("wrap", "wrap_activation_checkpoint", "tag_activation_checkpoint")


@dataclass(frozen=True)
class FlatStep:
    """A node, the name of its result, and the names of the values it reads."""

    node: fx.Node
    name: str
    names: Mapping[fx.Node, str]


@dataclass(frozen=True)
class Detached:
    """A value, under a new name, that passes no gradient on."""

    name: str
    source: str


@dataclass
class Flat:
    """Operations in order, under names that no two share; ``aliases``: names of values that were handed through."""

    steps: list[FlatStep | Detached] = field(default_factory=list)
    values: dict[str, Tensor] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)


def without_regions(module: fx.GraphModule) -> Flat:
    """The graph without regions. Raises ``CaptureError`` for control flow and for autocast."""
    flat = Flat()
    names = {node: node.name for node in module.graph.nodes}
    _write(flat, module, names, "")
    return flat


def _write(flat: Flat, module: fx.GraphModule, names: dict[fx.Node, str], prefix: str) -> list[str]:
    """Write the nodes of one graph; returns the names of what it returns."""
    regions: dict[fx.Node, list[str]] = {}
    for node in module.graph.nodes:
        names.setdefault(node, f"{prefix}{node.name}")
        if isinstance(node.meta.get("val"), Tensor):
            flat.values[names[node]] = node.meta["val"]
        if node.op in ("placeholder", "get_attr"):
            continue  # the graphs of regions; whatever else is read so is refused where it is used
        if node.op == "output":
            (returned,) = node.args
            listed = returned if isinstance(returned, list | tuple) else [returned]
            return [names[value] for value in listed if isinstance(value, fx.Node)]
        if isinstance(node.target, torch._ops.HigherOrderOperator):
            regions[node] = _region(flat, module, node, names, prefix)
        elif node.args and node.args[0] in regions:
            flat.aliases[names[node]] = regions[_node(node.args[0])][int(node.args[1])]
            names[node] = flat.aliases[names[node]]
        else:
            flat.steps.append(FlatStep(node, names[node], names))
    return []


def _region(flat: Flat, module: fx.GraphModule, node: fx.Node, names: dict[fx.Node, str], prefix: str) -> list[str]:
    """Write a region; returns the names of its results."""
    kind, arguments = str(node.target), list(node.args)
    place = next(
        (i for i, value in enumerate(arguments) if isinstance(value, fx.Node) and value.op == "get_attr"), None
    )
    body = None if place is None else getattr(module, str(_node(arguments[place]).target), None)
    if kind == "wrap_with_autocast" and arguments[2]:
        raise CaptureError(
            f"it computes a part in {str(arguments[1]).removeprefix('torch.')} under autocast; capture it without: "
            "the toolkit trains in mixed precision itself where that is asked for"
        )
    known = kind in ("wrap_with_set_grad_enabled", "wrap_with_autocast", *_PLAIN)
    if not known or place is None or not isinstance(body, fx.GraphModule):
        raise CaptureError(f"{node.name} is control flow, which a network cannot hold")
    given = [names[_node(value)] for value in arguments[place + 1 :]]
    holders = [inner for inner in body.graph.nodes if inner.op == "placeholder"]
    inside = dict(zip(holders, given, strict=True))
    results = _write(flat, body, inside, f"{prefix}{node.name}_")
    if kind != "wrap_with_set_grad_enabled" or arguments[0]:
        return results
    detached = [f"{prefix}{node.name}_result_{number}" for number in range(len(results))]
    flat.steps += [Detached(new, old) for new, old in zip(detached, results, strict=True)]
    flat.values.update(
        {new: flat.values[old] for new, old in zip(detached, results, strict=True) if old in flat.values}
    )
    return detached


def _node(value: Any) -> fx.Node:
    if not isinstance(value, fx.Node):
        raise CaptureError("a part of its forward takes something that is no tensor")
    return value
