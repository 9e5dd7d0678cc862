"""Which calls of a network get the same values as before it was edited."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, fx, nn

from compressor.graph.network import Network


def unaffected(before: Network, after: Network) -> frozenset[str]:
    """Paths of the leaves of ``after`` whose every call takes what it took in ``before``.

    A call takes the same where nothing that its inputs are computed from has changed: no node, no leaf's settings, no
    weight. What was only rebuilt counts as changed.
    """
    old = {node.name: node for node in before.graph.nodes}
    modules = dict(before.calls()), dict(after.calls())
    same: set[fx.Node] = set()
    kept: dict[str, bool] = {}
    for node in after.graph.nodes:
        reached = all(source in same for source in node.all_input_nodes)
        if node.op == "call_module":
            kept[str(node.target)] = kept.get(str(node.target), True) and reached and _alike(old.get(node.name), node)
        if reached and _alike(old.get(node.name), node) and _computes_alike(node, old, before, after, modules):
            same.add(node)
    return frozenset(path for path, is_kept in kept.items() if is_kept)


def _alike(old: fx.Node | None, new: fx.Node) -> bool:
    return old is not None and (old.op, str(old.target), str((old.args, old.kwargs))) == (
        new.op, str(new.target), str((new.args, new.kwargs))
    )  # fmt: skip


def _computes_alike(
    node: fx.Node,
    old: Mapping[str, fx.Node],
    before: Network,
    after: Network,
    modules: tuple[Mapping[fx.Node, nn.Module], Mapping[fx.Node, nn.Module]],
) -> bool:
    """Whether the leaf or the constant of a node is what it was; a function has neither."""
    if node.op == "call_module":
        was, now = modules[0][old[node.name]], modules[1][node]
        return type(was) is type(now) and repr(was) == repr(now) and _equal(was.state_dict(), now.state_dict())
    if node.op == "get_attr":
        return _equal({"": _value(before, node)}, {"": _value(after, node)})
    return True


def _value(network: Network, node: fx.Node) -> Tensor:
    value: object = network.module
    for name in str(node.target).split("."):
        value = getattr(value, name)
    assert isinstance(value, Tensor)
    return value


def _equal(was: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> bool:
    return was.keys() == now.keys() and all(torch.equal(value, now[name]) for name, value in was.items())
