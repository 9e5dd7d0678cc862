"""Which rule writes which kind of torch layer into an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_out.builder import GraphBuilder, Operand

Rule = Callable[[GraphBuilder, Any, Operand], OnnxValue]
"""``rule(builder, layer, operand)`` writes what ``layer`` computes in eval mode and returns the resulting value."""

_RULES: dict[type[nn.Module], Rule] = {}
_OVERRIDABLE = ("forward", "_conv_forward")
"""A subclass that overrides one of these computes something of its own."""


def rule(*kinds: type[nn.Module]) -> Callable[[Rule], Rule]:
    """Decorator: this function writes layers of these kinds."""

    def register(function: Rule) -> Rule:
        for kind in kinds:
            _RULES[kind] = function
        return function

    return register


def rule_for(layer: nn.Module) -> Rule | None:
    """The rule of the layer's kind, or of a base class whose ``forward`` it inherits unchanged; None without one."""
    for kind in type(layer).__mro__:
        if kind in _RULES:
            same = all(getattr(type(layer), name, None) is getattr(kind, name, None) for name in _OVERRIDABLE)
            return _RULES[kind] if same else None
    return None


def unless(values: Sequence[int], default: int) -> list[int] | None:
    """None where every value is ONNX's default, which need not be written; the values otherwise."""
    return None if all(value == default for value in values) else [int(value) for value in values]


def per_axis(value: int | Sequence[int], axes: int) -> list[int]:
    """torch's "one for all axes or one per axis" as one per axis."""
    if isinstance(value, int):
        return [value] * axes
    values = [int(item) for item in value]
    return values * axes if len(values) == 1 else values
