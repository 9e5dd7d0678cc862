"""Which rule reads which ONNX operator: those of the layer kinds, and those that are registered here for functions."""

from __future__ import annotations

from collections.abc import Callable

from torch import fx

from compressor.graph.layers.table import READ
from compressor.graph.onnx_node.node import Node

OperatorRule = Callable[[Node], fx.Node]
RULES: dict[str, OperatorRule] = dict(READ)
"""Operator → what it becomes."""


def rule(*operators: str) -> Callable[[OperatorRule], OperatorRule]:
    """Register a rule for these operators."""

    def register(function: OperatorRule) -> OperatorRule:
        RULES.update(dict.fromkeys(operators, function))
        return function

    return register
