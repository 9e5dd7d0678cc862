"""The values of nodes while a network runs, which need not run to its end."""

from __future__ import annotations

from collections.abc import Container
from contextlib import suppress

from torch import Tensor, fx

from compressor.graph.nested import Nested, tensors
from compressor.graph.network import Network


class ValueRecorder(fx.Interpreter):
    """Runs a network as far as ``last`` and keeps the values of nodes."""

    def __init__(self, network: Network, last: fx.Node) -> None:
        super().__init__(network.root)
        self.extra_traceback = False
        self._last = last
        self._names: Container[str] = ()
        self._found: list[tuple[str, Tensor]] = []

    def values(self, inputs: Nested, names: Container[str]) -> list[tuple[str, Tensor]]:
        self._names, self._found = names, []
        with suppress(_ReachedError):
            self.run(*tensors(inputs))
        return self._found

    def run_node(self, n: fx.Node) -> object:
        value: object = super().run_node(n)
        if n.name in self._names and isinstance(value, Tensor):
            self._found.append((n.name, value.detach()))
        if n is self._last:
            raise _ReachedError
        return value


class _ReachedError(Exception):
    """Nothing behind this node is asked for."""
