"""Pool first: an average pooling behind a 1×1 convolution goes before it.

Averaging over windows A acts on places alone, a 1×1 convolution W on channels alone, and an average of equal values is
that value, so that

    A (W x + b) = W (A x) + b

with the products of the few places that are left: 1/k of them for windows of k places, 1/(H·W) where all is averaged.
Zeros around the image would not be b, so a pooling that pads is left where it is, and so is one that divides by another
number than it adds up. The promise is ``EXACT``.

DenseNet's transitions are of this kind (Huang et al., arXiv:1608.06993: windows of 2×2), and the heads of Darknet-19
(Redmon and Farhadi, arXiv:1612.08242) and of SqueezeNets without a rectifier behind the last convolution.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import fx, nn
from torch.nn.modules.conv import _ConvNd

from compressor.errors import Refusal
from compressor.graph.editor import Editor
from compressor.graph.layers.table import vanishes
from compressor.graph.network import Network
from compressor.plugin import Plugin, Promise, Refused, Site, Suggestion

_WINDOWS = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_ADAPTIVE = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class PoolFirst(Plugin):
    """Average before a 1×1 convolution instead of behind it: the same function, fewer products."""

    promise: ClassVar[Promise] = Promise.EXACT

    def sites(self, network: Network) -> Iterator[Site | Refused]:
        for path, leaf in network.leaves():
            if type(leaf) not in _CONVOLUTIONS or not _acts_on_channels_alone(leaf):
                continue
            found = _average_behind(network, path)
            if found is None:
                continue
            call, pool = found
            reason = _obstacle(network, call, pool)
            if reason:
                yield Refused(path, reason)
            else:
                nodes = tuple(node.name for node in (*network.calls_of(path), call))
                yield Site(path, {}, nodes, f"{call.target} ({type(pool).__name__}) before it")

    def suggest(self, network: Network, sites: Sequence[Site]) -> Suggestion | None:
        count = len(sites)
        return Suggestion(
            "structure", f"{count} {'average' if count == 1 else 'averages'} could go first, exactly", "all"
        )

    def rewrite(self, editor: Editor, site: Site, choice: object) -> None:
        found = _average_behind(editor.network, site.path)
        if found is None:
            raise Refusal("no average behind it", path=site.path)
        call, pool = found
        if reason := _obstacle(editor.network, call, pool):
            raise Refusal(reason, path=site.path)
        layer = editor.network.leaf(site.path)
        editor.replace_by_chain(site.path, [("pooled", copy.deepcopy(pool)), ("", layer)])
        editor.replace(str(call.target), nn.Identity())


def _acts_on_channels_alone(layer: nn.Module) -> bool:
    assert isinstance(layer, _ConvNd)
    return {*layer.kernel_size, *layer.stride} == {1} and not any(layer.padding)


def _average_behind(network: Network, path: str) -> tuple[fx.Node, nn.Module] | None:
    """The call of an average that alone reads a layer, through what does nothing at inference."""
    calls = network.calls_of(path)
    if len(calls) != 1:
        return None
    (node,) = calls
    while len(node.users) == 1 and node not in network.output_nodes:
        (node,) = node.users
        leaf = network.leaf(str(node.target)) if node.op == "call_module" else None
        if isinstance(leaf, _WINDOWS + _ADAPTIVE):
            return node, leaf
        if not vanishes(leaf):
            break
    return None


def _obstacle(network: Network, call: fx.Node, pool: nn.Module) -> str:
    """Why the pooling cannot go first; empty where it can."""
    if len(network.calls_of(str(call.target))) != 1:
        return f"{call.target} pools elsewhere too"
    if isinstance(pool, _WINDOWS) and any(_tuple(pool.padding)):
        return f"{call.target} averages zeros around the image, which would not be the layer's bias"
    if getattr(pool, "divisor_override", None) is not None:
        return f"{call.target} divides by another number than it adds up"
    if network.shape(call) == network.shape(call.all_input_nodes[0]):
        return f"{call.target} leaves as many values"
    return ""


def _tuple(size: int | tuple[int, ...]) -> tuple[int, ...]:
    return (size,) if isinstance(size, int) else tuple(size)
