"""How identities travel through a network: what a pass is, and the few things that can happen to them.

Rules say for each kind of node what happens, in the words of ``Flow``; they are written once and serve two passes.

    unite, mix, pin     channels that must go together, or can never go
    add_up              channels that are summed, and may go where they count for nothing
    make, take          a layer's own output channels; the channels that reach its inputs
    run                 an operation that moves values about: torch itself does it, on identities
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, fx, nn

from compressor.errors import GraphError
from compressor.graph.flow.values import NOTHING, TRACE_BATCH, collapsed, core, has_one_entry
from compressor.graph.leaf import Shape
from compressor.graph.network import Network

NEIGHBOURS = "works across what lies side by side, and channels do so there"
"""Why channels that are laid out along the height, width or length of a value go only all together."""
Differing = Callable[[Tensor], list[int]]
"""Dimensions of a value along which identities differ by class."""


class Opaque:
    """A value of unknown make, as several results at once of an operation without a rule."""


class Flow(ABC):
    """One pass over a network, node by node."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.values: dict[fx.Node, Any] = {}

    # --- what rules say ------------------------------------------------------------------------------------------

    @abstractmethod
    def ask(self, question: Callable[[Differing], list[int]]) -> list[int]:
        """The answer to a question about identities and sizes, given ``differing``; every pass gets the first one's.

        With other sizes the answer could be another: a single channel that is left spreads over nothing.
        """

    @abstractmethod
    def unite(self, left: Tensor, right: Tensor, node: fx.Node, reason: str = "") -> None:
        """Identities at the same positions go together from now on."""

    @abstractmethod
    def pin(self, value: Any, reason: str) -> None:
        """None of these identities can be chosen."""

    @abstractmethod
    def fixed(self, node: fx.Node, reason: str) -> Tensor:
        """The one identity, (1,), of what a node makes that cannot be chosen."""

    @abstractmethod
    def make(self, path: str, count: int) -> Tensor:
        """The identities of a layer's output channels, (count,)."""

    @abstractmethod
    def take(self, path: str, vector: Tensor, *, both: bool = False) -> None:
        """A layer's inputs are these; ``both``: its parameters follow them, and its outputs are they again."""

    @abstractmethod
    def add_up(self, node: fx.Node, *places: int) -> None:
        """A node adds up what lies along channels of these arguments: one that is gone counts for nothing there.

        Copies of one would count twice, which no weight makes up for.
        """

    @abstractmethod
    def constant(self, node: fx.Node, tensor: Tensor) -> Tensor:
        """Identities of a constant of the network, shaped like it."""

    @abstractmethod
    def block(self, path: str, reason: str) -> None:
        """A layer's output channels cannot be chosen here."""

    @abstractmethod
    def run(self, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What torch makes of identities where a node moves values about."""

    @abstractmethod
    def run_slices(self, node: fx.Node, value: Tensor, picks: dict[int, slice]) -> Tensor:
        """The runs ``picks``, by dimension, of a value."""

    # --- what follows from it ------------------------------------------------------------------------------------

    def varying(self, value: Tensor) -> list[int]:
        """Dimensions along which identities differ by class."""
        return self.ask(lambda differing: differing(value))

    def mix(self, value: Tensor, dims: Iterable[int], node: fx.Node, reason: str) -> Tensor:
        """What lies along ``dims`` goes together; returns the value with one identity along them."""
        wide = [dim for dim in sorted({dim % value.dim() for dim in dims}) if not has_one_entry(value, dim)]
        for dim in wide:
            held = core(value)
            self.unite(held, held.narrow(dim, 0, 1).expand_as(held), node, reason)
        return collapsed(value, wide) if wide else value

    def rectangular(self, value: Tensor, node: fx.Node) -> Tensor:
        """Ties identities so that they vary along one dimension only, the longest: slices of it can then go."""
        dims = self.varying(value)
        if len(dims) > 1:
            kept = max(dims, key=lambda dim: (value.size(dim), dim))
            for dim in dims:
                if dim != kept:
                    held = core(value)
                    reason = f"{node.name} lays channels out in rows, which must stay equally long"
                    self.unite(held, held.narrow(dim, 0, 1).expand_as(held), node, reason)
        return value

    def is_nothing(self, value: Tensor) -> bool:
        """Whether a value is plain numbers, without channels."""
        return bool((core(value) == NOTHING).all())

    def fixed_value(self, node: fx.Node, reason: str) -> Any:
        """A value of one identity that cannot be chosen, in the shape of the node's value where that is known."""
        shape: Shape | None = node.meta.get("shape")
        if shape is None:
            return Opaque()
        return self.fixed(node, reason).reshape([1] * (len(shape) + 1)).expand(TRACE_BATCH, *shape)

    def opaque(self, node: fx.Node, given: Any, reason: str) -> Any:
        """Pins everything that goes in; what comes out cannot be chosen either."""
        for value in tensors_in(given):
            self.pin(value, f"its channels {reason}")
        return self.fixed_value(node, f"its channels are tied to what {node.name} makes")

    def arguments(self, node: fx.Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a node, values in place of nodes."""
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda source: self.values[source])
        return tuple(args), dict(kwargs)

    def held(self, node: fx.Node) -> Tensor:
        """The constant that a get_attr node reads."""
        found: Any = self.network.root
        for name in str(node.target).split("."):
            found = getattr(found, name)
        if not isinstance(found, Tensor):
            raise GraphError(f"{node.target} is no tensor")
        return found.detach()

    def leaf(self, node: fx.Node) -> nn.Module:
        return self.network.leaf(str(node.target))


def tensors_in(given: Any) -> list[Tensor]:
    """All tensors in nested arguments."""
    found: list[Tensor] = []
    for value in given.values() if isinstance(given, dict) else given if isinstance(given, list | tuple) else [given]:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple | dict):
            found += tensors_in(value)
    return found


def is_opaque(given: Any) -> bool:
    """Whether a value of unknown make is among nested arguments."""
    if isinstance(given, list | tuple):
        return any(is_opaque(value) for value in given)
    return isinstance(given, Opaque)
