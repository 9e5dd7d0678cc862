"""A captured network: an FX graph whose leaves are modules, its signature, and the shape of every value in it.

A network is trainable (its parameters are ordinary parameters), callable at any batch size, and cheap to fork; an
``Editor`` is the only thing that changes its structure.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from compressor.apart import batch_done
from compressor.errors import GraphError
from compressor.graph.copied import copied
from compressor.graph.leaf import Shape
from compressor.graph.nested import Inputs
from compressor.graph.normalisation import Normalisation
from compressor.graph.signature import Signature


class Network:
    """A graph of modules with known shapes.

    Invariants: ``module`` is linted, and compiled when it is asked for after edits; every node carries
    ``meta["shape"]``, the shape of one sample of its value, or None where the value is no batch of samples (a
    parameter, a number). Placeholders stand in the order of the signature's inputs; the output node holds the outputs
    as they are nested, records as tuples.
    """

    def __init__(
        self, module: fx.GraphModule, signature: Signature, source: str = "", notes: tuple[str, ...] = ()
    ) -> None:
        self.root = module
        """The module, for whoever looks at its parts: after an edit its code is older than its graph."""
        self._stale = False
        self.signature = signature
        self.source = source
        """Where it came from, for people: a file, a factory, a zoo name."""
        self.notes = notes
        """What it is not that its source was, for people."""

    # --- the module ----------------------------------------------------------------------------------------------

    @property
    def module(self) -> fx.GraphModule:
        """The module that computes what the graph says."""
        if self._stale:
            self._stale = False
            self.root.recompile()
        return self.root

    @module.setter
    def module(self, module: fx.GraphModule) -> None:
        self.root, self._stale = module, False

    def rewired(self) -> None:
        """Say that the graph has changed. Many edits in a row are compiled once, also for who holds the module."""
        self._stale = True
        type(self.root).forward = _compiled_first  # every GraphModule has a class of its own

    # --- use -----------------------------------------------------------------------------------------------------

    def __call__(self, inputs: Inputs) -> Any:
        """Run on a batch, in whatever mode the network is in; returns what the owner's network returns, nested so.

        ``inputs``: a tensor ``(N, *signature.input.shape)``, or a tuple of them where there are several inputs.
        """
        batch_done()
        result = self.module(inputs) if isinstance(inputs, Tensor) else self.module(*inputs)
        nesting = self.signature.nesting
        return nesting.build(nesting.flatten(result)) if nesting.has_records else result

    def train(self, mode: bool = True) -> Network:
        self.root.train(mode)
        return self

    def eval(self) -> Network:
        return self.train(False)

    def know(self, normalisation: Normalisation | None) -> Network:
        """Keep with the network how its first input is prepared."""
        self.signature = replace(self.signature, normalisation=normalisation)
        return self

    @property
    def device(self) -> torch.device:
        tensors = itertools.chain(self.root.parameters(), self.root.buffers())
        return next((tensor.device for tensor in tensors), torch.device("cpu"))

    def to(self, device: torch.device | str) -> Network:
        self.root.to(device)
        return self

    def fork(self) -> Network:
        """An independent copy: edits and training of one never show in the other. Ties and modes are kept."""
        return Network(copied(self.module), self.signature, self.source, self.notes)

    def become(self, other: Network) -> None:
        """Take over the structure and the weights of ``other``, which is not to be used any more."""
        self.module, self.signature, self.source = other.module, other.signature, other.source

    # --- look ----------------------------------------------------------------------------------------------------

    @property
    def graph(self) -> fx.Graph:
        return self.root.graph

    @property
    def input_nodes(self) -> tuple[fx.Node, ...]:
        """The placeholders, in the order of the signature's inputs."""
        return tuple(self.graph.find_nodes(op="placeholder"))

    @property
    def output_nodes(self) -> tuple[fx.Node, ...]:
        """The nodes whose values the network returns, in the order of the signature's outputs; one may recur."""
        found: list[fx.Node] = []
        fx.node.map_arg(self.graph.output_node().args[0], lambda node: found.append(node))
        return tuple(found)

    def calls(self) -> Iterator[tuple[fx.Node, nn.Module]]:
        """Every call of a leaf with the leaf, in execution order. A shared leaf appears once per call."""
        modules = dict(self.root.named_modules(remove_duplicate=False))
        for node in self.graph.nodes:
            if node.op == "call_module":
                yield node, modules[str(node.target)]

    def leaves(self) -> Iterator[tuple[str, nn.Module]]:
        """Every leaf with its path, in order of first execution, each once."""
        seen: set[str] = set()
        for node, module in self.calls():
            path = str(node.target)
            if path not in seen:
                seen.add(path)
                yield path, module

    def leaf(self, path: str) -> nn.Module:
        """The leaf at ``path``. Raises ``GraphError`` when there is none."""
        module: nn.Module | None = self.root
        for name in path.split("."):  # what get_submodule does, in a tenth of its time: rewrites ask for every leaf
            module = None if module is None else module._modules.get(name)
        if module is None:
            raise GraphError(f"the network has no leaf {path!r}")
        return module

    def calls_of(self, path: str) -> list[fx.Node]:
        """The nodes that call the leaf at ``path``."""
        return list(self.graph.find_nodes(op="call_module", target=path))

    def node(self, name: str) -> fx.Node:
        """The node called ``name``. Raises ``GraphError`` when there is none."""
        for node in self.graph.nodes:
            if node.name == name:
                found: fx.Node = node
                return found
        raise GraphError(f"the network has no node {name!r}")

    @staticmethod
    def shape(node: fx.Node) -> Shape:
        """Shape of one sample of the node's value. Raises ``GraphError`` where the value is no batch of samples."""
        shape: Shape | None = node.meta.get("shape")
        if shape is None:
            raise GraphError(f"node {node.name} holds no batch of samples")
        return shape

    @property
    def parameter_count(self) -> int:
        """Number of distinct parameter values (tied weights count once; buffers do not count)."""
        return sum(math.prod(p.shape) for p in self.root.parameters())


def _compiled_first(module: fx.GraphModule, *args: Any, **named: Any) -> Any:
    module.recompile()  # which puts the real one in the place of this
    return module.forward(*args, **named)
