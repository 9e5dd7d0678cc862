"""Layers that take signs: before such a layer, and between two of them, nothing need be computed but thresholds.

What stands before a sign — a scale and a bias, BatchNorm, ReLU, max pooling — is monotone in every channel. So the sign
is a threshold on whatever comes in, and turned where the function f falls, as BatchNorm does for γ < 0:

    q(f(x)) = ±q(x − τ)        x floats; a minus goes into the next layer's weights for that channel
    q(f(z)) = q(±z − τ)        z sums of signs, whole numbers in [−n, n]; a minus goes into the layer's own weights

For BatchNorm τ = μ − βσ/γ, rounded up for whole numbers. It is found by bisection, over whole numbers or over all
floats, on the very modules that torch runs and in its own precision: the signs are torch's, bit for bit, and nothing
need be known of the modules but that they are monotone.

A maximum commutes with a sign as long as what stands behind it rises; where it falls (γ < 0 behind the pooling), the
opposite signs are pooled, and the next layer's weights for that channel are turned.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from compressor.graph.leaf import Leaf

Positive = Callable[[Tensor], Tensor]
"""Values, one per channel (C,), to whether the sign that comes of each is +1."""

_PASSIVE = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)
_RISING = (nn.ReLU, nn.ReLU6, nn.Hardtanh)


class SignLeaf(Leaf):
    """A leaf that computes sums of signs of its input, each times a scale, plus a bias."""

    byte: int
    """The byte that stands for +1 in what ``with_threshold`` gives; 0 stands for −1."""
    high: int = 0
    """The byte that stands for +1 in its own input; 0 where that is floats."""

    @property
    @abstractmethod
    def takes_signs(self) -> bool:
        """Whether the signs of its input are all it needs to know."""

    @abstractmethod
    def outputs(self) -> int:
        """Output channels."""

    @abstractmethod
    def reach(self) -> int:
        """The largest sum of signs: weights per output."""

    @abstractmethod
    def affine(self, sums: Tensor) -> Tensor:
        """What the layer gives for sums of signs (1, C, …)."""

    @abstractmethod
    def with_threshold(self, turned: Tensor, threshold: Tensor) -> Leaf | None:
        """The leaf that gives bytes, signs of ±z + threshold, minus where ``turned``; None where that does not pay.

        ``turned``: (C,) flags; ``threshold``: (C,) whole numbers.
        """

    @abstractmethod
    def reading(self, high: int, turned: Tensor, entry: Tensor | None = None) -> SignLeaf | None:
        """The leaf for an input whose signs are bytes 0 and ``high``, or, where that is 0, those of x − ``entry``.

        ``turned``: channels (C,) with the opposite sign. None where there is no such leaf.
        """

    def deploy_with(self, call: fx.Node, modules: Mapping[fx.Node, nn.Module]) -> Mapping[fx.Node, nn.Module]:
        if not self.takes_signs:
            return {}
        own, changes = (self, {}) if self.high else _with_entry(self, call, modules)
        return {**changes, call: own, **_with_next(own, call, modules)}


# --- thresholds ------------------------------------------------------------------------------------------------------


def switch_points(positive: Positive, low: int, high: int, channels: int) -> tuple[Tensor, Tensor]:
    """Per channel whether ``positive(low)``, and the least v in [low, high] where that changes, else high + 1.

    By bisection: ``positive`` must be monotone in every channel.
    """
    least, most = torch.full((channels,), low), torch.full((channels,), high + 1)
    start = positive(least)
    while bool((least < most).any()):
        middle = torch.div(least + most, 2, rounding_mode="floor")
        changed, open_ = positive(middle.clamp(max=high)) ^ start, least < most
        most = torch.where(open_ & changed, middle, most)
        least = torch.where(open_ & ~changed, middle + 1, least)
    return start, least


_LARGEST = 0x7F7FFFFF
"""The bits of the largest finite float32. Floats are ordered as their bits are, with the sign put before the number."""


def floats_of(codes: Tensor) -> Tensor:
    """The float32 whose place among all floats is the code; an infinity beyond the largest."""
    sizes = codes.abs().clamp(max=_LARGEST + 1).to(torch.int32).view(torch.float32)
    return torch.where(codes < 0, -sizes, sizes)


def _positive(modules: Sequence[nn.Module], rank: int) -> Positive:
    """Whether copies of the modules, in eval mode, give something that is not negative."""
    copies = [copy.deepcopy(module).cpu().eval() for module in modules]

    def positive(values: Tensor) -> Tensor:
        value = values.view(1, -1, *[1] * (rank - 1))
        for module in copies:
            value = module(value)
        return value.reshape(-1) >= 0

    return positive


# --- floats to signs -------------------------------------------------------------------------------------------------


def _with_entry(
    layer: SignLeaf, call: fx.Node, modules: Mapping[fx.Node, nn.Module]
) -> tuple[SignLeaf, dict[fx.Node, nn.Module]]:
    """The layer with thresholds in place of what stands before it."""
    absorbed: list[fx.Node] = []
    node = call.all_input_nodes[0]
    while len(node.users) == 1 and isinstance(module := modules.get(node), (*_PASSIVE, *_RISING, _BatchNorm)):
        if isinstance(module, _BatchNorm) and not _is_fixed(module):
            break
        absorbed.insert(0, node)
        node = node.all_input_nodes[0]
    if not any(isinstance(modules[node], _BatchNorm) for node in absorbed):
        return layer, {}
    shape = absorbed[0].meta["shape"]
    positive = _positive([modules[node] for node in absorbed], len(shape))
    start, codes = switch_points(lambda codes: positive(floats_of(codes)), -_LARGEST, _LARGEST, shape[0])
    own = layer.reading(0, start, floats_of(codes))
    return (layer, {}) if own is None else (own, dict.fromkeys(absorbed, nn.Identity()))


# --- sums of signs to signs ------------------------------------------------------------------------------------------


def _with_next(layer: SignLeaf, call: fx.Node, modules: Mapping[fx.Node, nn.Module]) -> Mapping[fx.Node, nn.Module]:
    """Thresholds in place of what stands between the layer and the next, where that one takes signs."""
    way = _way(call, modules)
    if way is None:
        return {}
    turned = way.turned(layer.outputs())
    positive = _positive([*way.before, *way.behind], len(call.meta["shape"]))
    affine = copy.deepcopy(layer).cpu().affine

    def ahead(sums: Tensor) -> Tensor:
        return positive(affine(sums.float().view(1, -1)).view(-1)) ^ turned

    falls, least = switch_points(ahead, -layer.reach(), layer.reach(), layer.outputs())
    own = layer.with_threshold(falls, torch.where(falls, least - 1, -least))
    reader = way.reader.reading(layer.byte, turned)
    if own is None or reader is None:
        return {}
    return {call: own, **dict.fromkeys(way.absorbed, nn.Identity()), way.end: reader}


@dataclass(frozen=True)
class _Way:
    """What stands between a layer and the next: modules before and behind the pooling, in order."""

    before: Sequence[nn.Module]
    behind: Sequence[nn.Module]
    pools: bool
    absorbed: Sequence[fx.Node]
    """Calls that the threshold makes superfluous."""
    end: fx.Node
    reader: SignLeaf

    def turned(self, channels: int) -> Tensor:
        """Channels that fall behind the pooling."""
        flags = torch.zeros(channels, dtype=torch.bool)
        if self.pools:
            for module in self.behind:
                if isinstance(module, _BatchNorm) and module.affine:
                    flags ^= module.weight.detach().cpu() < 0
        return flags


def _way(call: fx.Node, modules: Mapping[fx.Node, nn.Module]) -> _Way | None:
    """The way to the next layer that takes signs; None where a value is used twice, or something else is on it."""
    before: list[nn.Module] = []
    behind: list[nn.Module] = []
    absorbed: list[fx.Node] = []
    pools = flat = False
    node = call
    while len(node.users) == 1:
        (node,) = node.users
        module = modules.get(node)
        if isinstance(module, SignLeaf):
            return _Way(before, behind, pools, absorbed, node, module) if module.takes_signs else None
        if isinstance(module, nn.MaxPool2d) and _pools_bytes(module) and not pools and not flat:
            pools = True
        elif isinstance(module, nn.Flatten) and module.start_dim == 1 and module.end_dim == -1:
            flat = True
        elif isinstance(module, _RISING) or (isinstance(module, _BatchNorm) and _is_fixed(module) and not flat):
            (behind if pools else before).append(module)
            absorbed.append(node)
        elif not isinstance(module, _PASSIVE):
            return None
    return None


def _pools_bytes(pool: nn.MaxPool2d) -> bool:
    """Whether ONNX's pooling of bytes is torch's: without padding that needs a value below every byte."""
    plain = pool.dilation in (1, (1, 1)) and not pool.return_indices
    return plain and (pool.padding in (0, (0, 0)) or not pool.ceil_mode)


def _is_fixed(norm: _BatchNorm) -> bool:
    return norm.running_mean is not None
