"""One function or method call of the graph as its rule sees it, and which rule writes which operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from compressor.errors import ExportError
from compressor.graph.leaf import OnnxValue, Shape
from compressor.graph.onnx_out.builder import GraphBuilder, Operand
from compressor.graph.shape_rules.functions import operation


@dataclass(frozen=True)
class BatchSize:
    """The unknown number of samples, and whatever is computed from it; ``of``: a value of so many samples."""

    of: OnnxValue | None = None


@dataclass(frozen=True)
class RepeatedConstant:
    """A constant that is repeated along the batch, which is not its first dimension; ``one``: for one sample."""

    one: Tensor


@dataclass(frozen=True)
class CallSite:
    """A node whose arguments are looked up: tensors are ``Operand`` s, batch sizes ``BatchSize``, the rest plain.

    ``raw`` holds the values as they were found: there, parameters are still tensors.
    """

    node: fx.Node
    values: Mapping[fx.Node, Any]
    raw: Mapping[fx.Node, Any]

    @property
    def name(self) -> str:
        """Plain name of the operation: ``aten.add_.Tensor`` → ``add``."""
        return operation(self.node)

    @property
    def shape(self) -> Shape:
        """Shape of one sample of the result. Raises ``ExportError`` where the result is no batch of samples."""
        shape: Shape | None = self.node.meta.get("shape")
        if shape is None:
            raise ExportError("the result is no batch of samples")
        return shape

    def argument(self, position: int, *names: str, default: Any = None) -> Any:
        """An argument by position or by any of ``names``, with graph values looked up."""
        return self._look_up(self._given(position, names, default), self.values)

    def operand(self, position: int = 0, *names: str) -> Operand:
        """A tensor argument. Raises ``ExportError`` when it is none."""
        value = self.argument(position, *(names or ("input", "self")))
        if not isinstance(value, Operand):
            raise ExportError(f"argument {position} is no tensor")
        return value

    def found(self, position: int, *names: str) -> Any:
        """An argument with graph values as they were found: there, parameters are still tensors."""
        return self._look_up(self._given(position, names, None), self.raw)

    def tensors(self, position: int, *names: str) -> list[Tensor]:
        """A list of tensors that do not depend on the input. Raises ``ExportError`` when one does."""
        values = list(self.found(position, *names) or [])
        if not all(isinstance(value, Tensor) for value in values):
            raise ExportError(f"argument {position} must not depend on the input")
        return values

    def constant(self, position: int, *names: str) -> Tensor | None:
        """A tensor argument that does not depend on the input. Raises ``ExportError`` when it does."""
        value = self.found(position, *names)
        if value is not None and not isinstance(value, Tensor):
            raise ExportError(f"argument {position} must not depend on the input")
        return value

    def rest(self, position: int, *names: str) -> list[Any]:
        """``f(x, 1, 2)``, ``f(x, (1, 2))`` and ``f(x, dims=(1, 2))`` all as ``[1, 2]``."""
        given = list(self.node.args[position:]) or [self._given(position, names, None)]
        found = self._look_up(given, self.values)
        return list(found[0]) if isinstance(found[0], list | tuple) else list(found)

    def _given(self, position: int, names: tuple[str, ...], default: Any) -> Any:
        if len(self.node.args) > position:
            return self.node.args[position]
        return next((self.node.kwargs[name] for name in names if name in self.node.kwargs), default)

    @staticmethod
    def _look_up(value: Any, values: Mapping[fx.Node, Any]) -> Any:
        return fx.node.map_arg(value, lambda node: values[node])


CallRule = Callable[[GraphBuilder, CallSite], OnnxValue | list[OnnxValue]]
"""Writes one call; a list where the call returns several tensors."""

FUNCTIONS: dict[str, CallRule] = {}


def function(*names: str) -> Callable[[CallRule], CallRule]:
    """Decorator: this rule writes the operations of these names."""

    def register(rule: CallRule) -> CallRule:
        for name in names:
            FUNCTIONS[name] = rule
        return rule

    return register
