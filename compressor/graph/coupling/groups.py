"""Which positions of which leaves belong to the same channel, found by torch-pruning's dependency graph.

torch-pruning (Fang et al., DepGraph, CVPR 2023) traces the network and knows how channel numbers travel through sums,
concatenation and flattening. It only reads here: the tracing hooks it sets are its own to remove, and modes come back.
Custom leaves are announced to it with the channel counts that the graph's shapes tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, fx, nn

from compressor.errors import Refusal
from compressor.graph.coupling.kinds import is_channelwise
from compressor.graph.leaf import Leaf
from compressor.graph.network import Network
from compressor.graph.shape_rules.probe import in_eval_mode

Positions = dict[int, int]
"""Position in a leaf's channels → the root leaf's channel that lives there."""


@dataclass(frozen=True)
class Coupling:
    """Everywhere some output channels of one leaf live.

    ``outputs`` are positions among a leaf's outputs (of a channelwise leaf: outputs and inputs alike), ``inputs`` among
    its inputs; both by leaf path.
    """

    outputs: dict[str, Positions] = field(default_factory=dict)
    inputs: dict[str, Positions] = field(default_factory=dict)


def coupled_positions(network: Network, path: str, channels: Sequence[int]) -> Coupling:
    """Where output channels ``channels`` of the leaf at ``path`` live. Raises ``Refusal`` where that is not clear."""
    return Couplings(network).of(path, channels)


class Couplings:
    """The couplings of a network as it is now, from one trace: to ask about many leaves."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._graph = _trace(network)
        self._paths = {module: name for name, module in network.leaves()}

    def of(self, path: str, channels: Sequence[int]) -> Coupling:
        """Where output channels ``channels`` of the leaf at ``path`` live. Raises ``Refusal`` where it is not clear."""
        root = self._network.leaf(path)
        pruner = self._graph.get_pruner_of_module(root)
        group = self._graph.get_pruning_group(root, pruner.prune_out_channels, idxs=list(channels))
        coupling = Coupling()
        for item in group:
            module = item.dep.target.module
            if module not in self._paths:
                continue  # torch-pruning's stand-ins for sums, concatenations and reshapes
            outward = is_channelwise(module) or self._graph.is_out_channel_pruning_fn(item.dep.handler)
            side = coupling.outputs if outward else coupling.inputs
            positions = side.setdefault(self._paths[module], {})
            for position, channel in zip(item.idxs, item.root_idxs, strict=True):
                if positions.setdefault(position, channel) != channel:
                    raise Refusal(f"channels meet at position {position} of {self._paths[module]}", path=path)
        return coupling


class _Runner(nn.Module):
    """The graph as it stands, run node by node: an uncommitted edit has no compiled code yet."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__()
        self.network = module

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = fx.Interpreter(self.network).run(x)
        return value


def _trace(network: Network) -> Any:
    reference = next(network.module.parameters(), torch.empty(0))
    example = torch.zeros((1, *network.spec.shape), dtype=reference.dtype, device=reference.device, requires_grad=True)
    pruners = {type(leaf): None for _, leaf in network.leaves() if isinstance(leaf, Leaf)}
    counts = _leaf_channels(network)
    customized = {kind: _leaf_pruner(kind, counts) for kind in pruners}
    with in_eval_mode(network.module), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        return tp.DependencyGraph().build_dependency(
            _Runner(network.module),
            example,
            forward_fn=lambda model, x: model(x + 0),  # a leaf tensor may not be changed in place
            customized_pruners=customized,
            verbose=False,
        )


def _leaf_channels(network: Network) -> dict[int, tuple[int, int]]:
    """Input and output channels of every custom leaf, by identity."""
    return {
        id(leaf): (network.shape(node.all_input_nodes[0])[0], network.shape(node)[0])
        for node, leaf in network.calls()
        if isinstance(leaf, Leaf)
    }


def _leaf_pruner(kind: type[Leaf], counts: Mapping[int, tuple[int, int]]) -> Any:
    """How torch-pruning sees one class of custom leaves. It is only asked for channel counts, never to prune."""

    class LeafPruner(tp.pruner.function.BasePruningFunc):  # type: ignore[misc]
        def prune_out_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
            raise NotImplementedError("leaves are pruned by their own keep_outputs")

        def prune_in_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
            raise NotImplementedError("leaves are pruned by their own keep_inputs")

        def get_out_channels(self, layer: nn.Module) -> int:
            return counts[id(layer)][1]

        def get_in_channels(self, layer: nn.Module) -> int:
            return counts[id(layer)][0]

    class ChannelwisePruner(LeafPruner):
        prune_in_channels = LeafPruner.prune_out_channels  # one function for both couples input i with output i

    channelwise = kind.keep_outputs is kind.keep_inputs and kind.keep_outputs is not Leaf.keep_outputs
    return ChannelwisePruner() if channelwise else LeafPruner()
