"""The first pass: which channels of a network come and go together, and which can never go.

Every layer's output channels get atoms, which travel through every node; sums unite those that meet. Rules ask along
which dimensions identities differ, and unions change the answer: the pass is repeated until no new one is found.
"""

from __future__ import annotations

import functools
import weakref
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from compressor.graph.coupling import functions, layers
from compressor.graph.coupling.atoms import Atoms, Numbers
from compressor.graph.coupling.moves import perform
from compressor.graph.flow.flow import Differing, Flow, tensors_in
from compressor.graph.flow.values import core
from compressor.graph.network import Network

LARGEST_CONSTANT = 2**16
"""Entries up to which those of a constant are told apart."""


@dataclass(frozen=True)
class Slot:
    """What a layer's parameters are counted by: the atoms that arrive at its inputs, in order."""

    atoms: Tensor
    both: bool
    """The outputs are the same channels: BatchNorm, a depthwise convolution."""


@dataclass(frozen=True, eq=False)
class ChannelTrace:
    """Where the channels of one network are, as it was when traced; it holds nothing of the network but names."""

    classes: Numbers
    """Atom → its class: the least that can go."""
    pinned: Mapping[int, str]
    """Class → why it cannot go."""
    tied: Mapping[int, str]
    """Class → why several channels of a layer go together in it."""
    made: Mapping[str, Tensor]
    """Path → atoms of a layer's output channels."""
    blocked: Mapping[str, str]
    """Path → why a layer has no output channels that can be chosen."""
    slots: Mapping[str, Slot]
    """Path → what arrives at a layer."""
    constants: Mapping[str, Tensor]
    """Path → atoms of a constant, shaped like it."""
    fixed: Mapping[str, Tensor]
    """By node, as what follows."""
    values: Mapping[str, Any]
    sums: Mapping[str, tuple[int, ...]]
    """Which arguments of a node are summed over channels."""
    decisions: Mapping[str, tuple[list[int], ...]]
    """What rules were told of each node, question by question, along which dimensions identities differ."""

    @functools.cached_property
    def rows(self) -> Mapping[int, list[Numbers]]:
        """The sets of classes, ascending, that lie side by side in some value, by the smallest: one must stay."""
        found: dict[int, Numbers] = {}
        for value in tensors_in(list(self.values.values())):
            if id(value) not in found and value.numel():
                found[id(value)] = np.unique(self.classes_of(core(value)))
        rows: dict[int, list[Numbers]] = defaultdict(list)
        for row in {row.tobytes(): row for row in found.values()}.values():
            rows[int(row[0])].append(row)
        return rows

    @functools.cached_property
    def makers(self) -> Mapping[int, tuple[str, ...]]:
        """Class → paths of the layers that make it, for classes that several make."""
        paths = list(self.made)
        rows = [np.unique(self.classes_of(atoms)) for atoms in self.made.values()]
        names = np.concatenate([*rows, np.zeros(0, np.int64)])
        owners = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        shared = np.bincount(names)[names] > 1
        found: dict[int, list[str]] = defaultdict(list)
        for name, owner in zip(names[shared].tolist(), owners[shared].tolist(), strict=True):
            found[name].append(paths[owner])
        return {name: tuple(paths) for name, paths in found.items()}

    def reaches(self, path: str, classes: frozenset[int]) -> bool:
        """Whether one of these classes reaches the layer at ``path``."""
        slot = self.slots.get(path)
        return slot is not None and not classes.isdisjoint(self.classes_of(slot.atoms).tolist())

    def classes_of(self, atoms: Tensor) -> Numbers:
        found: Numbers = self.classes[atoms.reshape(-1).numpy()]
        return found


class Tracer(Flow):
    """Gives out atoms and unites them."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self._atoms = Atoms()
        self._made: dict[str, Tensor] = {}
        self._blocked: dict[str, str] = {}
        self._slots: dict[str, Slot] = {}
        self._constants: dict[str, Tensor] = {}
        self._fixed: dict[str, Tensor] = {}
        self._sums: dict[str, tuple[int, ...]] = {}
        self._decisions: dict[str, list[list[int]]] = {}
        self._node: fx.Node = network.input_nodes[0]
        self._meeting = meeting_constants(network)
        self._before = -1
        self._known: dict[int, tuple[Tensor, int, list[int]]] = {}

    def trace(self) -> ChannelTrace:
        while self._before != (known := self._atoms.unions):
            self._before = known
            self._decisions.clear()
            for node in self.network.graph.nodes:
                self._node = node
                self.values[node] = self._visit(node)
            self._pin_blocks()
        return ChannelTrace(
            self._atoms.classes.copy(),
            self._atoms.pinned(),
            self._atoms.tied(),
            self._made,
            self._blocked,
            self._slots,
            self._constants,
            self._fixed,
            {node.name: value for node, value in self.values.items()},
            self._sums,
            {node: tuple(answers) for node, answers in self._decisions.items()},
        )

    def _visit(self, node: fx.Node) -> Any:
        match node.op:
            case "placeholder":
                return self.fixed_value(node, "its channels are tied to those of the network's input")
            case "get_attr":
                return self.constant(node, self.held(node))
            case "call_module":
                return layers.call(self, node)
            case "output":
                return self.pin(
                    [self.values[source] for source in node.all_input_nodes], "its channels are the network's output"
                )
        return functions.call(self, node)

    def _pin_blocks(self) -> None:
        """Constants can be cut along one dimension only."""
        for path, atoms in self._constants.items():
            if len(self._differing(atoms)) > 1:
                self.pin(atoms, f"its channels are tied to the constant {path}")

    # --- what rules say ------------------------------------------------------------------------------------------

    def ask(self, question: Callable[[Differing], list[int]]) -> list[int]:
        answer = question(self._differing)
        self._decisions.setdefault(self._node.name, []).append(answer)
        return answer

    def _differing(self, value: Tensor) -> list[int]:
        known = self._known.get(id(value))
        if known is None or known[1] != self._atoms.unions:
            answer = differing(core(value), self._atoms.canonical)
            known = self._known[id(value)] = value, self._atoms.unions, answer
        return known[2]

    def unite(self, left: Tensor, right: Tensor, node: fx.Node, reason: str = "") -> None:
        self._atoms.unite(left, right, reason)

    def pin(self, value: Any, reason: str) -> None:
        for found in tensors_in(value):
            self._atoms.pin(found, reason)

    def fixed(self, node: fx.Node, reason: str) -> Tensor:
        if node.name not in self._fixed:
            self._fixed[node.name] = self._atoms.new(1)
            self._atoms.pin(self._fixed[node.name], reason)
        return self._fixed[node.name]

    def make(self, path: str, count: int) -> Tensor:
        if path not in self._made:
            self._made[path] = self._atoms.new(count)
        return self._made[path]

    def take(self, path: str, vector: Tensor, *, both: bool = False) -> None:
        known = self._slots.setdefault(path, Slot(vector, both))
        self._atoms.unite(known.atoms, vector)

    def add_up(self, node: fx.Node, *places: int) -> None:
        self._sums[node.name] = places

    def constant(self, node: fx.Node, tensor: Tensor) -> Tensor:
        path = str(node.target)
        if tensor.numel() == 1:
            return torch.zeros(tensor.shape, dtype=torch.long)
        if tensor.numel() > LARGEST_CONSTANT or path not in self._meeting:
            return self.fixed(node, f"its channels are tied to the constant {path}").expand(tensor.shape)
        if path not in self._constants:
            self._constants[path] = self._atoms.new(tensor.numel()).view(tensor.shape)
        return self._constants[path]

    def block(self, path: str, reason: str) -> None:
        self._blocked.setdefault(path, reason)

    def run(self, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return perform(node, args, kwargs)

    def run_slices(self, node: fx.Node, value: Tensor, picks: dict[int, slice]) -> Tensor:
        varying = self.varying(value)
        if any(picks[dim].step not in (None, 1) for dim in varying if dim in picks):
            self.pin(value, f"its channels pass {node.name}, which picks them by their number")
        return value[tuple(picks.get(dim, slice(None)) for dim in range(value.dim()))]


def meeting_constants(network: Network) -> set[str]:
    """Paths of constants that meet channels of the network in an operation that has a rule.

    Others end where all is pinned, as weights that are normalised for a convolution: nobody asks for their entries.
    """
    followed, met = set[fx.Node](), set[fx.Node]()
    for node in network.graph.nodes:
        if node.op == "placeholder" or not followed.isdisjoint(node.all_input_nodes):
            followed.add(node)
    for node in reversed(network.graph.nodes):
        if (node in followed or node in met) and (node.op == "call_module" or functions.has_rule(node)):
            met.update(node.all_input_nodes)
    return {str(node.target) for node in met if node.op == "get_attr"}


def differing(held: Tensor, canonical: Any) -> list[int]:
    """Dimensions of a core along which identities differ by class."""
    if held.numel() <= 1:
        return []
    held = canonical(held)
    wide = [dim for dim in range(held.dim()) if held.size(dim) > 1]
    return [dim for dim in wide if not bool((held == held.narrow(dim, 0, 1)).all())]


# --- one trace for every state of a network --------------------------------------------------------------------------

_TRACES: weakref.WeakKeyDictionary[Network, tuple[list[Any], ChannelTrace]] = weakref.WeakKeyDictionary()
_BY_STRUCTURE: dict[tuple[Any, ...], ChannelTrace] = {}
_MOST = 16
"""Structures that are remembered."""


def trace_of(network: Network) -> ChannelTrace:
    """The trace of a network as it is now; found again where nothing that it depends on has changed.

    Forks of a network share it, and so do networks with other weights.
    """
    state = _state(network)
    known = _TRACES.get(network)
    if known is not None and len(known[0]) == len(state) and all(map(_is, known[0], state)):
        return known[1]
    key = structure(network)
    trace = _BY_STRUCTURE.pop(key, None) or Tracer(network).trace()
    _BY_STRUCTURE[key] = trace
    if len(_BY_STRUCTURE) > _MOST:
        _BY_STRUCTURE.pop(next(iter(_BY_STRUCTURE)))
    _TRACES[network] = state, trace
    return trace


def remember(network: Network, trace: ChannelTrace) -> None:
    """That this is the trace of the network as it is now."""
    _TRACES[network] = _state(network), trace


def _state(network: Network) -> list[Any]:
    """All that a trace depends on, as objects that are replaced and not changed."""
    parts: list[Any] = []
    modules = dict(network.root.named_modules(remove_duplicate=False))
    for node in network.graph.nodes:
        parts += [node, node.target, node.args, node.kwargs]
        if node.op == "call_module":
            parts.append(modules.get(node.target))
    return parts


def _is(one: Any, other: Any) -> bool:
    return one is other


def structure(network: Network) -> tuple[Any, ...]:
    """All that a trace depends on, in words: calls, shapes, and what layers are; no weights."""
    modules = dict(network.root.named_modules(remove_duplicate=False))
    return tuple(
        (node.name, node.op, node.target, repr((node.args, node.kwargs)), node.meta.get("shape"), _held(modules, node))
        for node in network.graph.nodes
    )


def _held(modules: Mapping[str, nn.Module], node: fx.Node) -> Any:
    """What rules look at of the layer or the constant that a node names."""
    path = str(node.target)
    if node.op == "call_module":
        leaf = modules[path]
        words = [(name, value) for name, value in vars(leaf).items() if isinstance(value, int | str | tuple)]
        told = sorted((name, repr(value)) for name, value in words if name != "training" and name[0] != "_")
        return type(leaf), tuple(told), getattr(leaf, "channel_dim", None)
    if node.op == "get_attr":
        owner, _, name = path.rpartition(".")
        constant = getattr(modules[owner], name, None)
        if isinstance(constant, Tensor):  # a whole number may say which entry is picked
            return constant.shape, None if constant.is_floating_point() else repr(constant.tolist())
    return None
