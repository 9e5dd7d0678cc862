"""Removing what an edit left behind: nodes whose value nobody uses, modules and tensors no node names."""

from __future__ import annotations

from torch import fx, nn


def remove_dead_nodes(graph: fx.Graph) -> bool:
    """Erase every node without users, then those that only fed it; whether there were any. Lints on the way.

    A network is a function of its input, so a value nobody uses is dead even where drawing it advanced a random state.
    """
    return graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))


def forbid_in_place(module: nn.Module) -> None:
    """Make every layer write a new tensor: after an edit somebody else may use the one it would have overwritten."""
    for part in module.modules():
        if getattr(part, "inplace", False) is True:
            part.inplace = False  # type: ignore[assignment]


def remove_unused_modules(module: fx.GraphModule) -> None:
    """Delete every submodule, parameter and buffer that no node names; one walk over the module tree."""
    called = {str(node.target) for node in module.graph.nodes if node.op == "call_module"}
    named = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    needed = called | named
    holders = {path.rsplit(".", count)[0] for path in needed for count in range(1, path.count(".") + 1)}
    _sweep(module, "", called, named, holders)


def _sweep(module: nn.Module, prefix: str, called: set[str], named: set[str], holders: set[str]) -> None:
    for name, child in list(module.named_children()):
        path = prefix + name
        if path in holders:
            _sweep(child, path + ".", called, named, holders)
        elif path not in called and path not in named:
            delattr(module, name)
    if prefix.removesuffix(".") in called:
        return  # a leaf that some node reads a tensor of: its other tensors are its own business
    for tensors in (module._parameters, module._buffers):
        for name in [name for name in tensors if prefix + name not in named]:
            delattr(module, name)
