"""The second pass: the network with other channels, node by node, to see what arrives where.

Layers that make channels send out labels, each an atom of the first pass with the number of its copy. Every operation
runs on them, with what is written into it rewritten; every layer finds by the labels which of its old inputs arrive.
What does not arrive as it must (other channels meet in a sum, a row is shorter than its neighbour) is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from compressor.errors import Refusal
from compressor.graph.coupling import functions, layers
from compressor.graph.coupling.atoms import Numbers
from compressor.graph.coupling.moves import perform, refit, resliced
from compressor.graph.coupling.trace import ChannelTrace, differing
from compressor.graph.flow.flow import Differing, Flow, tensors_in
from compressor.graph.flow.values import NOTHING, core, slices
from compressor.graph.layers.convolving import is_grouped
from compressor.graph.network import Network

COPY = 2**40
"""A label is its atom + COPY · the number of the copy."""
NUMBERS = 2**30
"""More than a row has places."""


@dataclass(frozen=True)
class ChannelChange:
    """What becomes of every class: how many copies, or which class takes its place."""

    copies: Mapping[int, int] = field(default_factory=dict)
    """Class → how often it is there afterwards; classes not listed stay."""
    places: Mapping[int, int] = field(default_factory=dict)
    """Class → the class that takes its places."""


@dataclass
class ChannelLayout:
    """What changes in the network: by path or node, in old positions."""

    outputs: dict[str, Numbers] = field(default_factory=dict)
    """Path → the old output of each new one."""
    inputs: dict[str, Numbers] = field(default_factory=dict)
    """Path → the old input of each new one."""
    shares: dict[str, Numbers] = field(default_factory=dict)
    """Path → how many copies of each new input there are."""
    constants: dict[str, tuple[int, Numbers]] = field(default_factory=dict)
    """Path → dimension, and the old entry of each new one."""
    calls: dict[fx.Node, tuple[Any, ...]] = field(default_factory=dict)
    """Node → target, args and kwargs."""


class Replay(Flow):
    """Sends labels through the network; only nodes that see a changed one are visited."""

    def __init__(self, network: Network, trace: ChannelTrace, change: ChannelChange) -> None:
        super().__init__(network)
        self.layout = ChannelLayout()
        self._trace = trace
        self._change = change
        self._classes = torch.from_numpy(trace.classes)
        self._copies = np.ones(len(trace.classes), np.int64)
        self._copies[list(change.copies)] = list(change.copies.values())
        self._touched = np.zeros(len(trace.classes), bool)
        self._touched[[*change.copies, *change.places]] = True
        self._changed: set[fx.Node] = set()
        self._answers: list[list[int]] = []

    def replay(self) -> ChannelLayout:
        """Raises ``Refusal`` where the change does not go through."""
        many = {path for path, calls in _calls(self.network).items() if calls > 1}
        for node in self.network.graph.nodes:
            before = self._trace.values.get(node.name)
            if node.op in ("placeholder", "output") or not (self._concerns(node) or str(node.target) in many):
                self.values[node] = before
                continue
            self._answers = list(self._trace.decisions.get(node.name, ()))
            try:
                self.values[node] = value = self._visit(node)
            except (RuntimeError, IndexError, ValueError, TypeError) as error:
                raise Refusal(f"its channels pass {node.name}, which does not take other numbers of them") from error
            self._check(node, before, value)
        return self.layout

    def trace_after(self) -> ChannelTrace | None:
        """The trace of the network as it will be, where channels were only dropped: the others keep their atoms."""
        if self._change.places or max(self._change.copies.values(), default=0) > 1 or self._groups_change():
            return None
        made, slots, constants = dict(self._trace.made), dict(self._trace.slots), dict(self._trace.constants)
        for path, index in self.layout.outputs.items():
            if path in made:
                made[path] = made[path][torch.from_numpy(index)]
        for path, index in self.layout.inputs.items():
            slots[path] = replace(slots[path], atoms=slots[path].atoms[torch.from_numpy(index)])
        for path, (dim, index) in self.layout.constants.items():
            constants[path] = constants[path].index_select(dim, torch.from_numpy(index))
        values = {node.name: value for node, value in self.values.items()}
        return replace(self._trace, made=made, slots=slots, constants=constants, values=values)

    def _groups_change(self) -> bool:
        """Whether a grouped convolution is touched: with as many groups as inputs it is another kind."""
        touched = [self.network.leaf(path) for path in {*self.layout.outputs, *self.layout.inputs}]
        return any(is_grouped(leaf) for leaf in touched)

    def _concerns(self, node: fx.Node) -> bool:
        if any(source in self._changed for source in node.all_input_nodes):
            return True
        path = str(node.target)
        atoms = {"call_module": self._trace.made, "get_attr": self._trace.constants}.get(node.op, {}).get(path)
        return atoms is not None and bool(self._touched[self._trace.classes_of(atoms)].any())

    def _visit(self, node: fx.Node) -> Any:
        match node.op:
            case "get_attr":
                return self.constant(node, self.held(node))
            case "call_module":
                return layers.call(self, node)
        return functions.call(self, node)

    def _check(self, node: fx.Node, before: Any, after: Any) -> None:
        """Every value has the size that the counts of its channels say, and is not empty."""
        if not tensors_in(after) and after != before:
            self._changed.add(node)  # a size
        for old, new in zip(tensors_in(before), tensors_in(after), strict=True):
            if 0 in new.shape:
                raise Refusal(f"nothing would be left of {node.name}")
            if tuple(new.shape) != self._shape_after(old):
                raise Refusal(f"its channels pass {node.name}, which does not take other numbers of them")
            if new.shape != old.shape or not torch.equal(core(new).reshape(-1), core(old).reshape(-1)):
                self._changed.add(node)

    def _shape_after(self, old: Tensor) -> tuple[int, ...]:
        sizes = list(old.shape)
        for dim in differing(core(old), self._by_class):
            sizes[dim] = self._length(old, dim)
        return tuple(sizes)

    def _length(self, old: Tensor, dim: int) -> int:
        """How long a dimension of a value of the first pass will be."""
        if dim % old.dim() not in differing(core(old), self._by_class):
            return old.size(dim)
        return int(self._copies[self._trace.classes_of(slices(old, dim))].sum())

    def _by_class(self, labels: Tensor) -> Tensor:
        return self._classes[labels % COPY] + labels // COPY * COPY

    # --- what rules say ------------------------------------------------------------------------------------------

    def ask(self, question: Callable[[Differing], list[int]]) -> list[int]:
        return self._answers.pop(0)

    def unite(self, left: Tensor, right: Tensor, node: fx.Node, reason: str = "") -> None:
        one, other = self._by_class(left), self._by_class(right)
        if not bool(((one == other) | (left == NOTHING) | (right == NOTHING)).all()):
            raise Refusal(reason or f"other channels would meet in {node.name}")

    def pin(self, value: Any, reason: str) -> None:
        """Classes that are pinned are never part of a change."""

    def fixed(self, node: fx.Node, reason: str) -> Tensor:
        return self._trace.fixed[node.name]

    def make(self, path: str, count: int) -> Tensor:
        atoms = self._trace.made[path]
        index, copy = self._arranged(atoms)
        self._note(self.layout.outputs, path, index)
        return atoms[torch.from_numpy(index)] + torch.from_numpy(copy) * COPY

    def take(self, path: str, vector: Tensor, *, both: bool = False) -> None:
        slot = self._trace.slots[path]
        old, labels = slot.atoms.numpy(), vector.numpy()
        index = _matched(self._trace.classes[old], self._by_class(vector).numpy())
        if index is None or len(index) != self._copies[self._trace.classes[old]].sum():
            raise Refusal(f"what reaches {path} would not be what it took")
        self._note(self.layout.inputs, path, index)
        self.layout.shares[path] = self._copies[self._trace.classes[labels % COPY]]
        if both:
            self._note(self.layout.outputs, path, index)

    def add_up(self, node: fx.Node, *places: int) -> None:
        args, _ = self.arguments(node)
        if any(bool((found >= COPY).any()) for found in tensors_in([args[place] for place in places])):
            raise Refusal(f"its copies would count twice in {node.name}, which adds channels up")

    def constant(self, node: fx.Node, tensor: Tensor) -> Tensor:
        path = str(node.target)
        atoms = self._trace.constants[path]
        (dim,) = differing(core(atoms), self._by_class)
        index, copy = self._arranged(slices(atoms, dim))
        self.layout.constants[path] = dim, index
        shape = [-1 if other == dim else 1 for other in range(atoms.dim())]
        return atoms.index_select(dim, torch.from_numpy(index)) + torch.from_numpy(copy).view(shape) * COPY

    def block(self, path: str, reason: str) -> None:
        """Says nothing new."""

    def run(self, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        fresh = refit(node, self._trace.values[node.name], self._length)
        if fresh is None or all(map(_equal, fresh, (node.target, node.args, node.kwargs))):
            return perform(node, args, kwargs)
        self.layout.calls[node] = fresh
        return self._performed(node, fresh)

    def run_slices(self, node: fx.Node, value: Tensor, picks: dict[int, slice]) -> Tensor:
        varying = self.varying(value)
        old = self._trace.values[node.all_input_nodes[0].name]
        fresh = dict(picks)
        for dim in varying:
            run = picks.get(dim, slice(None))
            if run in (slice(None), slice(None, None, 1)):
                continue
            copies = self._copies[self._trace.classes_of(slices(old, dim))]
            start, end, _ = run.indices(old.size(dim))
            first = int(copies[:start].sum())
            fresh[dim] = slice(first, first + int(copies[start:end].sum()), run.step)
        if fresh != picks:
            self.layout.calls[node] = resliced(node, fresh)
        return value[tuple(fresh.get(dim, slice(None)) for dim in range(value.dim()))]

    # --- steps ---------------------------------------------------------------------------------------------------

    def _performed(self, node: fx.Node, call: tuple[Any, ...]) -> Any:
        """A rewritten call, run on labels."""
        target, args, kwargs = call
        args, kwargs = fx.node.map_arg((args, kwargs), lambda source: self.values[source])
        stand_in = fx.Graph().create_node("call_function" if callable(target) else "call_method", target)
        return perform(stand_in, tuple(args), dict(kwargs))

    def _arranged(self, atoms: Tensor) -> tuple[Numbers, Numbers]:
        """The new order of a row of atoms: old place, and number of the copy."""
        classes = self._trace.classes_of(atoms)
        if self._change.places:
            return self._exchanged(classes), np.zeros(len(classes), np.int64)
        index: list[int] = []
        copy: list[int] = []
        start = 0
        for place in range(1, len(classes) + 1):
            if place == len(classes) or classes[place] != classes[start]:
                run, times = list(range(start, place)), int(self._copies[classes[start]])
                index += run * times
                copy += [number for number in range(times) for _ in run]
                start = place
        return np.array(index, np.int64), np.array(copy, np.int64)

    def _exchanged(self, classes: Numbers) -> Numbers:
        """Old places by new ones, where classes change places; the n-th of one goes to the n-th of the other."""
        held = {name: np.flatnonzero(classes == name) for name in self._change.places}
        index = np.arange(len(classes))
        for name, other in self._change.places.items():
            if len(held[name]) != len(held.get(other, ())):
                raise Refusal("its channels fill different numbers of places, and cannot change them")
            index[held[name]] = held[other]
        return index

    def _note(self, known: dict[str, Numbers], path: str, index: Numbers) -> None:
        """Every call of a layer must say the same of it."""
        if not np.array_equal(known.setdefault(path, index), index):
            raise Refusal(f"the calls of {path} would need different channels")


def _matched(old: Numbers, new: Numbers) -> Numbers | None:
    """For each new label the place of its class among the old: the n-th of a copy to the n-th. None without one."""
    wanted = (new % COPY) * NUMBERS + _occurrence(new)
    known = old * NUMBERS + _occurrence(old)
    order = np.argsort(known)
    places = np.searchsorted(known[order], wanted)
    if (places == len(known)).any() or (known[order][places] != wanted).any():
        return None
    found: Numbers = order[places]
    return found


def _occurrence(values: Numbers) -> Numbers:
    """How often the value of each place stood before it."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(values) else np.zeros(0, np.int64)
    counted = np.arange(len(values)) - np.repeat(starts, np.diff(np.r_[starts, len(values)]))
    result = np.empty_like(counted)
    result[order] = counted
    return result


def _calls(network: Network) -> dict[str, int]:
    found: dict[str, int] = {}
    for node, _ in network.calls():
        found[str(node.target)] = found.get(str(node.target), 0) + 1
    return found


def _equal(one: Any, other: Any) -> bool:
    return one is other or bool(one == other)
