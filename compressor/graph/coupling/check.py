"""A numeric check of what the trace says: with half of every group gone, does each layer compute what it did?

The network as it is, with the channels that are to go silenced wherever a layer takes them, is run beside the network
without them; every layer's outputs must agree. All groups are tried at once, in one pass of a few small images; where a
layer differs, in double precision too, the groups that reach it are left out and named. It is done once for each
structure, whatever the widths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from compressor.errors import Refusal
from compressor.graph.coupling.atoms import Numbers
from compressor.graph.coupling.kinds import channel_dim
from compressor.graph.coupling.plan import channel_plan, put_in_place
from compressor.graph.coupling.replay import ChannelChange, ChannelLayout, Replay
from compressor.graph.coupling.trace import ChannelTrace, trace_of
from compressor.graph.flow.values import core
from compressor.graph.leaf import Leaf, Shape
from compressor.graph.network import Network
from compressor.graph.shape_rules.dry_run import undisturbed

SMALL = 32
"""Side of the images where the network takes any size."""
TOLERANCE = 1e-3
"""Largest difference relative to the largest value of a layer's output."""
ROUNDS = 8

Classes = frozenset[int]


_VERDICTS: dict[tuple[Any, ...], dict[str, str]] = {}
_MOST = 32
"""Structures that are remembered."""


def verdict(network: Network, groups: Callable[[], Mapping[str, Classes]]) -> Mapping[str, str]:
    """``failures`` of all groups, found once for networks of one structure."""
    key = structure(network)
    if key not in _VERDICTS:
        if len(_VERDICTS) >= _MOST:
            _VERDICTS.pop(next(iter(_VERDICTS)))
        _VERDICTS[key] = failures(network, groups())
    return _VERDICTS[key]


def failures(network: Network, groups: Mapping[str, Classes]) -> dict[str, str]:
    """Groups, by name, whose classes cannot all go at once, with the reason. The network is not changed."""
    trace, failed = trace_of(network), dict[str, str]()
    for _ in range(ROUNDS):
        left = {name: classes for name, classes in groups.items() if name not in failed}
        found = _attempt(network, trace, left)
        if not found:
            return failed
        failed |= found
    return failed | dict.fromkeys(groups, "does not compute the same without some channels")


def _attempt(network: Network, trace: ChannelTrace, groups: Mapping[str, Classes]) -> dict[str, str]:
    gone = sorted(frozenset().union(*groups.values()))
    if not gone:
        return {}
    try:
        layout = Replay(network, trace, ChannelChange(copies=dict.fromkeys(gone, 0))).replay()
        pruned = _without(network, trace, layout)
        path = _first_difference(network, pruned, trace, layout, gone)
        if path is not None and not any(isinstance(leaf, Leaf) for _, leaf in network.leaves()):
            path = _first_difference(_double(network), _double(pruned), trace, layout, gone, unknown=path)
    except Refusal as refusal:
        alone = len(groups) == 1
        return dict.fromkeys(groups, refusal.reason) if alone else _halves(network, trace, groups)
    if path is None:
        return {}
    reached = set(trace.classes_of(trace.slots[path].atoms).tolist()) if path in trace.slots else set(gone)
    blamed = [name for name, classes in groups.items() if classes & reached] or list(groups)
    return dict.fromkeys(blamed, f"without some of its channels {path} would not compute the same")


def _halves(network: Network, trace: ChannelTrace, groups: Mapping[str, Classes]) -> dict[str, str]:
    names = list(groups)
    found: dict[str, str] = {}
    for half in (names[: len(names) // 2], names[len(names) // 2 :]):
        found |= _attempt(network, trace, {name: groups[name] for name in half})
    return found


def _without(network: Network, trace: ChannelTrace, layout: ChannelLayout) -> Network:
    fork = network.fork()
    twins = dict(zip(network.graph.nodes, fork.graph.nodes, strict=True))
    plan = channel_plan(network, trace, layout)
    calls = {
        twins[node]: (target, *fx.node.map_arg((args, kwargs), lambda source: twins[source]))
        for node, (target, args, kwargs) in plan.calls.items()
    }
    put_in_place(fork, type(plan)(plan.leaves, plan.before, plan.after, plan.constants, calls))
    return fork


def _double(network: Network) -> Network:
    fork = network.fork()
    fork.module.double()
    return fork


def _as(network: Network, value: Tensor) -> Tensor:
    """A random input, in double precision where the network's weights are."""
    double = any(parameter.dtype == torch.float64 for parameter in network.root.parameters())
    return value.double() if double and value.is_floating_point() else value


class _Run(fx.Interpreter):
    """Runs a network and keeps what each call of a layer takes and gives.

    ``silenced``: path → dimension and mask of its inputs; ``given``: call of a layer → what it gives instead;
    ``summed``: node → masks of its arguments.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        silenced: Mapping[str, tuple[int, Tensor]],
        given: Mapping[str, Tensor],
        summed: Mapping[str, Mapping[int, Tensor]],
    ) -> None:
        super().__init__(module)
        self._silenced, self._given, self._summed = silenced, given, summed
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        self._name = ""

    def run_node(self, n: fx.Node) -> Any:
        self._name = n.name
        result = super().run_node(n)
        given = self._given.get(n.name)
        if isinstance(result, Tensor) and given is not None and given.shape == result.shape:
            result = given
        if n.op in ("call_module", "output") and isinstance(result, Tensor):
            self.outputs[n.name] = result
        return result

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = super().fetch_args_kwargs_from_env(n)
        masks = self._summed.get(n.name, {})
        return tuple(arg * masks[place] if place in masks else arg for place, arg in enumerate(args)), kwargs

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args and isinstance(args[0], Tensor):
            self.inputs[self._name] = args[0]
        if target in self._silenced:
            dim, mask = self._silenced[target]
            shape = [-1 if place == dim % args[0].dim() else 1 for place in range(args[0].dim())]
            args = (args[0] * mask.view(shape), *args[1:])
        return super().call_module(target, args, kwargs)


def _first_difference(
    network: Network,
    pruned: Network,
    trace: ChannelTrace,
    layout: ChannelLayout,
    gone: Sequence[int],
    unknown: str | None = None,
) -> str | None:
    """Path of the first layer that takes channels and differs; None where all agree, ``unknown`` where none can run.

    Layers of plugins say themselves what they do without some inputs, which need not be what they do with zeros (a
    sign has none). What reaches them is compared, and what they give is given to what follows in both networks.
    Raises ``Refusal`` where only the network with all channels runs.
    """
    silenced, summed = dict(_silenced(network, trace, layout)), dict(_summed(network, trace, gone))
    for shapes in _shapes(network):
        with undisturbed(network.root), undisturbed(pruned.root):
            generator = torch.Generator().manual_seed(0)
            specs = [replace(spec, shape=shape) for spec, shape in zip(network.signature.inputs, shapes, strict=True)]
            inputs = [_as(network, spec.random(2, generator, network.device)) for spec in specs]
            whole = _Run(network.root, silenced, {}, summed)
            try:
                whole.run(*inputs)
            except RuntimeError:
                continue
            part = _Run(pruned.module, {}, dict(_of_plugins(network, whole, layout)), {})
            try:
                part.run(*inputs)
            except RuntimeError as error:
                raise Refusal("the network does not run without some of its channels") from error
        return next(_differences(network, whole, part, trace, layout), None)
    return unknown


def _silenced(network: Network, trace: ChannelTrace, layout: ChannelLayout) -> Iterator[tuple[str, tuple[int, Tensor]]]:
    for path, index in layout.inputs.items():
        slot, leaf = trace.slots[path], network.leaf(path)
        if not slot.both and not isinstance(leaf, Leaf):
            mask = torch.zeros(len(slot.atoms), device=network.device)
            mask[torch.from_numpy(index).to(network.device)] = 1
            yield path, (channel_dim(leaf), mask)


def _summed(network: Network, trace: ChannelTrace, gone: Sequence[int]) -> Iterator[tuple[str, Mapping[int, Tensor]]]:
    """Nodes that add channels up, with a mask for each argument that they add up."""
    for node in network.graph.nodes:
        masks: dict[int, Tensor] = {}
        for place in trace.sums.get(node.name, ()):
            held = core(trace.values[node.args[place].name])
            stays = torch.from_numpy(~np.isin(trace.classes_of(held), gone)).view(held.shape)
            masks[place] = stays.to(network.device, torch.float32)
        if masks:
            yield node.name, masks


def _of_plugins(network: Network, whole: _Run, layout: ChannelLayout) -> Iterator[tuple[str, Tensor]]:
    """Calls of plugins' layers, and the part that stays of what they give."""
    for node, leaf in network.calls():
        if isinstance(leaf, Leaf) and node.name in whole.outputs:
            yield node.name, _picked(whole.outputs[node.name], leaf, layout.outputs.get(str(node.target)))


def _differences(
    network: Network, whole: _Run, part: _Run, trace: ChannelTrace, layout: ChannelLayout
) -> Iterator[str]:
    for node, leaf in network.calls():
        path = str(node.target)
        if path not in trace.slots:
            continue
        taken = isinstance(leaf, Leaf)
        expected, actual = ((run.inputs if taken else run.outputs).get(node.name) for run in (whole, part))
        if expected is None or actual is None:
            continue
        index = layout.outputs.get(path) if not taken or trace.slots[path].both else layout.inputs.get(path)
        expected = _picked(expected, leaf, index)
        if expected.shape != actual.shape or not _close(expected, actual):
            yield path


def _picked(value: Tensor, leaf: nn.Module, index: Numbers | None) -> Tensor:
    """The channels ``index`` of what a layer takes or gives; all where there is none."""
    return value if index is None else value.index_select(channel_dim(leaf), torch.from_numpy(index).to(value.device))


def _close(expected: Tensor, actual: Tensor) -> bool:
    gap, scale = (expected - actual).abs().max(), expected.abs().max()
    return not bool(gap > TOLERANCE * scale)


def _shapes(network: Network) -> Sequence[Sequence[Shape]]:
    """Small images first, those the network was made for where these do not pass."""
    whole = [spec.shape for spec in network.signature.inputs]
    small = [(*shape[:1], *(min(size, SMALL) for size in shape[1:])) for shape in whole]
    return [small, whole] if small != whole else [small]


def structure(network: Network) -> tuple[Any, ...]:
    """What the check depends on: the nodes and how they hang together, not how wide they are."""
    leaves: dict[str, nn.Module] = dict(network.leaves())
    return tuple(
        (node.name, str(node.target), type(leaves.get(str(node.target))), tuple(n.name for n in node.all_input_nodes))
        for node in network.graph.nodes
    )
