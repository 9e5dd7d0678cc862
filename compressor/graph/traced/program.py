"""A traced network as plain data: the neutral form between whatever was read and the network that is built from it.

A program is a list of operations in single static assignment: each names its operator as torch's dispatcher does
(``aten.conv2d.default``), its arguments by their names in the operator's schema, and the values it makes. Nothing here
runs, imports or looks anything up, so a program may come from a file that nobody trusts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from compressor.graph.leaf import Shape
from compressor.graph.nesting import TENSOR, Nesting

BATCH: Final = -1
"""The size of a dimension that is the batch size."""
UNKNOWN: Final = -2
"""The size of a dimension that depends on the batch size in another way, or on data."""

Sizes = tuple[int, ...]
"""Sizes of a whole value, the batch dimension included; ``BATCH`` and ``UNKNOWN`` may stand for sizes."""


@dataclass(frozen=True)
class ValueRef:
    """A reference to a value of the program: an input, a piece of state, or the result of an operation."""

    name: str


@dataclass(frozen=True)
class Scope:
    """The module whose ``forward`` called an operation: its path in the source, and the name of its class."""

    path: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Op:
    """One operation. ``arguments`` hold numbers, strings, ``None``, dtypes, ``ValueRef`` s and lists of these."""

    target: str
    arguments: Mapping[str, Any]
    result: str
    scope: Scope = Scope()

    @property
    def values(self) -> Iterator[ValueRef]:
        """The values the operation reads."""
        for argument in self.arguments.values():
            yield from values_in(argument)


def values_in(argument: Any) -> Iterator[ValueRef]:
    """The values inside an argument, nested lists included."""
    if isinstance(argument, ValueRef):
        yield argument
    elif isinstance(argument, list | tuple):
        for item in argument:
            yield from values_in(item)


def renamed(argument: Any, name: Callable[[str], str]) -> Any:
    """The argument with every value called as ``name`` says, nested lists included."""
    if isinstance(argument, ValueRef):
        return ValueRef(name(argument.name))
    return [renamed(item, name) for item in argument] if isinstance(argument, list | tuple) else argument


def split_target(target: str) -> tuple[str, str, str]:
    """``aten.relu_.default`` → ``("aten.relu", "default", "aten.relu.default")``."""
    base, _, variant = target.rpartition(".")
    plain = base[:-1] if base.endswith("_") and not base.endswith("__") else base
    return plain, variant, f"{plain}.{variant}"


@dataclass(frozen=True)
class Program:
    """A network whose inputs and outputs are tensors with the batch as first dimension.

    ``state`` maps values to paths of tensors (``features.0.weight``); ``tensors`` holds those by path, tied ones being
    one object. The program owns its tensors. ``sizes`` and ``dtypes`` describe values; they may lack some.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    """Flat, in order; one value may be returned more than once."""
    ops: tuple[Op, ...]
    state: Mapping[str, str]
    tensors: Mapping[str, Tensor]
    parameters: frozenset[str]
    """Paths of the tensors that are trained, or at least were meant to be."""
    sizes: Mapping[str, Sizes] = field(default_factory=dict)
    dtypes: Mapping[str, torch.dtype] = field(default_factory=dict)
    nesting: Nesting = TENSOR
    """How the outputs were nested."""
    names: tuple[str, ...] = ()
    """What the owner calls the inputs, where that is not what they are called here."""
    in_training: bool = False
    """Whether it was traced in training mode, so that what trains in it need not train always."""

    def path_of(self, argument: Any) -> str | None:
        """Path of the tensor an argument refers to; None when it is no piece of state."""
        return self.state.get(argument.name) if isinstance(argument, ValueRef) else None

    def sizes_of(self, argument: Any) -> Sizes | None:
        """Sizes of the value an argument refers to, where they are known."""
        return self.sizes.get(argument.name) if isinstance(argument, ValueRef) else None


def first_value(op: Op) -> ValueRef | None:
    """The tensor an operation works on: its first argument."""
    first = next(iter(op.arguments.values()), None)
    return first if isinstance(first, ValueRef) else None


def sample_sizes(sizes: Sequence[int] | None) -> Shape | None:
    """The shape of one sample of a value of these sizes; None where it is no batch of samples of fixed shape."""
    if not sizes or sizes[0] != BATCH or any(size < 0 for size in sizes[1:]):
        return None
    return tuple(sizes[1:])
