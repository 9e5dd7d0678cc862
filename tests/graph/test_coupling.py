"""Coupling is exact: on any graph, for any channels that are said to be free, both oracles hold.

Graphs are drawn: convolutions (plain, grouped, depthwise), normalisation, sums, products, joins, splits, slices,
shuffles, gates, changes of resolution, rows beside maps. Zeroing channels and dropping them give the same, duplicating
them changes nothing, and the trace that an edit carries on is the one that a fresh look finds.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import torch_pruning as tp
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from networks import NETWORKS, make_sensitive
from oracles import DUPLICATE, ZERO_THEN_DROP, producers, silence
from torch import Tensor, nn
from traced import assert_consistent, images, traced, zoo

from compressor.errors import Refusal
from compressor.graph.coupling.atoms import Atoms
from compressor.graph.coupling.groups import coupled_positions, free_channels
from compressor.graph.coupling.trace import ChannelTrace, Tracer, trace_of
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.graph.verify import difference

SHAPE = (3, 4, 4)
WIDTHS = (4, 8, 12)


class Drawn(nn.Module):
    """A network that does what a list of steps says, each on earlier values."""

    def __init__(self, steps: list[tuple[str, int, int, int]]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        self.scales = nn.ParameterDict()
        self.steps: list[tuple[str, int, int, int]] = []
        widths = [3]
        for number, (kind, left, right, size) in enumerate(steps):
            one, other = left % len(widths), right % len(widths)
            width = self._add(str(number), kind, widths[one], widths[other], size)
            if width:
                self.steps.append((kind, one, other, number))
                widths.append(width)
        self.tails = list(range(max(len(widths) - 3, 1), len(widths)))
        rows = sum(widths[tail] * (16, 1, 2)[place % 3] for place, tail in enumerate(self.tails))
        self.beside = nn.Linear(48, 6)
        self.hidden, self.head = nn.Linear(rows + 6, 8), nn.Linear(8, 5)

    def _add(self, name: str, kind: str, one: int, other: int, size: int) -> int:
        """Builds what the step needs; returns the width of its value, 0 where the step does not fit."""
        new = WIDTHS[size % 3]
        match kind:
            case "conv":
                self.layers[name] = nn.Conv2d(one, new, 1)
            case "grouped" if one % 2 == 0:
                self.layers[name] = nn.Conv2d(one, new, 3, padding=1, groups=2)
            case "depthwise" if one > 1:
                self.layers[name] = nn.Conv2d(one, one, 3, padding=1, groups=one)
                return one
            case "multiplied" if one > 1:
                self.layers[name] = nn.Conv2d(one, 2 * one, 1, groups=one)
                return 2 * one
            case "norm":
                self.layers[name] = nn.BatchNorm2d(one)
                return one
            case "groups" if one % 2 == 0:
                self.layers[name] = nn.GroupNorm(one // 2, one)
                return one
            case "scale":
                self.scales[name] = nn.Parameter(torch.rand(one, 1, 1) + 0.5)
                return one
            case "gate":
                self.layers[name] = nn.Linear(one, one)
                return one
            case "spread":
                self.layers[name] = nn.Conv2d(one, 1, 1)
                return one
            case "add" | "multiply":
                return one if one == other else 0
            case "join":
                return one + other if one + other <= 48 else 0
            case "twice":
                return 2 * one if one <= 16 else 0
            case "half" | "pixels" | "shuffle" if one % 4 == 0:
                return {"half": one // 2, "pixels": one // 4, "shuffle": one}[kind]
            case "slice" | "exchange" if one > 3:
                return one - 1 if kind == "slice" else one
            case "relu" | "resized":
                return one
            case _:
                return 0
        return new

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for kind, one, other, number in self.steps:
            values.append(self._value(kind, values[one], values[other], str(number)))
        rows = [
            (torch.flatten, lambda v, _: v.mean((2, 3)), lambda v, _: torch.cat([v.amax((2, 3)), v.mean((2, 3))], 1))[
                place % 3
            ](values[tail], 1)
            for place, tail in enumerate(self.tails)
        ]
        joined = torch.cat([*rows[:1], self.beside(x.flatten(1)), *rows[1:]], 1)
        return self.head(torch.relu(self.hidden(joined)))

    def _value(self, kind: str, x: Tensor, y: Tensor, name: str) -> Tensor:
        match kind:
            case "scale":
                return x * self.scales[name]
            case "gate":
                return x * torch.sigmoid(self.layers[name](x.mean((2, 3))))[:, :, None, None]
            case "spread":
                return x * torch.sigmoid(self.layers[name](x))
            case "add":
                return x + y
            case "multiply":
                return x * y * 0.5
            case "join":
                return torch.cat([x, y], 1)
            case "twice":
                return torch.cat([x, x], 1)
            case "half":
                left, right = torch.chunk(x, 2, 1)
                return left * torch.relu(right)
            case "pixels":
                return nn.functional.avg_pool2d(nn.functional.pixel_shuffle(x, 2), 2)
            case "shuffle":
                b, c, h, w = x.size(0), x.size(1), x.size(2), x.size(3)
                return x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)
            case "slice":
                return x[:, 1:]
            case "exchange":
                return torch.cat([x[:, 2:], x[:, :2]], 1)
            case "relu":
                return torch.relu(x)
            case "resized":
                return nn.functional.interpolate(nn.functional.max_pool2d(x, 2), scale_factor=2)
        return self.layers[name](x)


KINDS = (
    "conv", "conv", "conv", "grouped", "depthwise", "multiplied", "norm", "groups", "scale", "gate", "spread", "add",
    "add", "multiply", "join", "twice", "half", "pixels", "shuffle", "slice", "exchange", "relu", "resized",
)  # fmt: skip
STEP = st.tuples(st.sampled_from(KINDS), st.integers(0, 9), st.integers(0, 9), st.integers(0, 2))
NUMBER = st.integers(0, 1000)


def drawn(steps: list[tuple[str, int, int, int]]) -> Network:
    torch.manual_seed(0)
    return traced(make_sensitive(Drawn([("conv", 0, 0, 1), *steps]), SHAPE), SHAPE)


def free(network: Network) -> list[tuple[str, list[list[int]]]]:
    trace = trace_of(network)
    found = [(path, free_channels(trace, path)) for path in trace.made if path in dict(network.leaves())]
    return [(path, parts) for path, parts in found if len(parts) > 1]


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, min_size=3, max_size=10), NUMBER, NUMBER)
def test_dropping_what_is_zero_and_duplicating_change_nothing(steps, choice, seed) -> None:
    network = drawn(steps)
    layers = free(network)
    assume(layers)
    path, parts = layers[choice % len(layers)]
    gone = random.Random(seed).sample(parts, 1 + seed % (len(parts) - 1))
    channels, batches = [channel for part in gone for channel in part], [images(network, 4)]

    silenced = network.fork()
    silence(silenced, path, channels)
    dropped = silenced.fork()
    editor = Editor(dropped)
    if not _something_is_left(trace_of(silenced), path, channels):
        with pytest.raises(Refusal, match="nothing would be left"):
            editor.drop_channels(path, channels)
        return
    editor.drop_channels(path, channels)
    editor.commit()
    assert_consistent(dropped)
    assert difference(silenced, dropped, batches) <= ZERO_THEN_DROP
    assert_same_coupling(dropped)

    wider = network.fork()
    editor = Editor(wider)
    editor.duplicate_channels(path, channels)
    editor.commit()
    assert_consistent(wider)
    assert difference(network, wider, batches) <= DUPLICATE


def _something_is_left(trace: ChannelTrace, path: str, channels: list[int]) -> bool:
    gone = set(trace.classes_of(trace.made[path])[channels].tolist())
    return not any(gone.issuperset(row.tolist()) for rows in trace.rows.values() for row in rows)


def assert_same_coupling(network: Network) -> None:
    """The trace carried on by edits says what a fresh one says."""
    carried, fresh = trace_of(network), Tracer(network).trace()
    assert carried.made.keys() == fresh.made.keys()
    names: dict[int, int] = {}
    for path, atoms in fresh.made.items():
        ours, theirs = carried.classes_of(carried.made[path]), fresh.classes_of(atoms)
        assert ours.shape == theirs.shape
        for one, other in zip(ours.tolist(), theirs.tolist(), strict=True):
            assert names.setdefault(other, one) == one, "channels that were one class are two"
        assert np.array_equal([n in carried.pinned for n in ours], [n in fresh.pinned for n in theirs])


@given(st.lists(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), max_size=12), max_size=4))
def test_atoms_that_are_united_are_named_by_the_smallest(rounds) -> None:
    atoms, sets = Atoms(), [{name} for name in range(13)]
    atoms.new(12)
    for pairs in rounds:
        atoms.unite(*torch.tensor(pairs, dtype=torch.long).view(-1, 2).T)
        for one, other in pairs:
            merged = sets[one] | sets[other]
            for name in merged:
                sets[name] = merged
    assert atoms.classes.tolist() == [min(found) for found in sets]
    assert atoms.unions == 13 - len({min(found) for found in sets})


class Standardised(nn.Conv2d):
    """Its weights are computed anew in every pass, from what is trained."""

    def forward(self, x: Tensor) -> Tensor:
        rows = self.weight.reshape(1, self.out_channels, -1)
        weight = nn.functional.batch_norm(rows, None, None, training=True, momentum=0.0)
        return nn.functional.conv2d(x, weight.view(self.weight.shape), self.bias)


def test_computed_weights_are_not_followed_value_by_value() -> None:
    network = traced(nn.Sequential(nn.Conv2d(3, 8, 1), Standardised(8, 16, 3), nn.Conv2d(16, 4, 1)), SHAPE)
    trace = trace_of(network)
    assert not trace.constants
    assert len(trace.classes) < 64, "no more atoms than channels and what is pinned"
    assert not free_channels(trace, "0"), "what a computed kernel sees cannot go"


class Picked(nn.Module):
    """Takes entries of its maps by a list."""

    def __init__(self, picks: list[int]) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(len(picks), 5, 1)
        self.register_buffer("picks", torch.tensor(picks))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.conv(x).index_select(1, self.picks)))


def test_networks_of_one_structure_share_a_trace() -> None:
    network = traced(Picked([0, 2]), SHAPE)
    fork = network.fork()
    with torch.no_grad():
        fork.leaf("conv").weight.mul_(2)
    assert trace_of(fork) is trace_of(network)
    others = (traced(Picked([0, 3]), SHAPE), traced(Picked([0, 2]), (3, 4, 8)))
    assert not any(trace_of(other) is trace_of(network) for other in others)
    fork.module.conv = nn.Conv2d(3, 4, 1, groups=1, bias=False)
    fork.module.head = nn.BatchNorm2d(2)
    assert trace_of(fork) is not trace_of(network)


JOINED = {
    "maps and rows": [("conv", 0, 0, 0), ("conv", 1, 0, 1), ("join", 2, 1, 0)],
    "joins of joins": [("conv", 0, 0, 0), ("join", 1, 2, 0), ("join", 3, 3, 0), ("conv", 4, 0, 0)],
    "shuffled halves": [("conv", 1, 0, 1), ("shuffle", 2, 0, 0), ("half", 3, 0, 0), ("join", 4, 4, 0)],
    "a value twice": [("conv", 1, 0, 1), ("twice", 2, 0, 0), ("norm", 3, 0, 0), ("conv", 4, 0, 0)],
}


@pytest.mark.parametrize("name", JOINED)
def test_every_second_part_at_once_and_the_wrong_ones_are_noticed(name: str) -> None:
    network, controls = drawn(JOINED[name]), []
    for path, parts in free(network):
        channels, others = ([c for part in parts[start::2] for c in part] for start in (0, 1))
        silenced, wrong = network.fork(), network.fork()
        silence(silenced, path, channels)
        silence(wrong, path, others)
        editor = Editor(dropped := silenced.fork())
        editor.drop_channels(path, channels)
        editor.commit()
        assert difference(silenced, dropped, [images(network)]) <= ZERO_THEN_DROP
        controls.append(difference(wrong, dropped, [images(network)]))
    assert max(controls) > 0.1


@pytest.mark.parametrize("name", NETWORKS)
def test_torch_pruning_finds_the_same_coupling(name: str) -> None:
    """An independent look, on networks whose operations it knows."""
    network = zoo(name)
    paths = {leaf: path for path, leaf in network.leaves()}
    image = torch.zeros(1, *network.signature.input.shape, requires_grad=True)
    graph = tp.DependencyGraph().build_dependency(network.module, image, lambda module, x: module(x + 0), verbose=False)
    for path in producers(network)[:-1]:
        root = network.leaf(path)
        ours = coupled_positions(network, path, [1])
        theirs: dict[str, set[int]] = {}
        for item in graph.get_pruning_group(root, graph.get_pruner_of_module(root).prune_out_channels, idxs=[1]):
            if (where := paths.get(item.dep.target.module)) is not None:
                theirs.setdefault(where, set()).update(item.idxs)
        merged = {where: set(ours.outputs.get(where, {})) | set(ours.inputs.get(where, {})) for where in theirs}
        assert merged == theirs
        assert {*ours.outputs, *ours.inputs} == theirs.keys()
