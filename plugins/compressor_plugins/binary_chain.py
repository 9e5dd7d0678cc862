"""Chains of layers that take signs: between two of them no float need be computed.

A layer gives sums of signs z, whole numbers in [−n, n]. What stands between it and the next sign — a scale and a bias,
BatchNorm, ReLU, max pooling — is monotone in every channel, so the sign is a threshold on z:

    q(f(z)) = q(±z − τ)        τ the least z with f(±z) ≥ 0;   a minus where f falls, as for γ < 0;   τ = n + 1: never

For BatchNorm τ = ⌈μ − βσ/γ⌉. It is found by bisection on the very modules that torch runs, in its own precision, so the
signs are torch's, bit for bit; nothing else need be known of the modules than that they are monotone. A minus goes into
the layer's own weights.

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
"""Sums of signs, one per channel (C,), to whether the next sign is +1 there."""

_PASSIVE = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)
_RISING = (nn.ReLU, nn.ReLU6, nn.Hardtanh)


class SignLeaf(Leaf):
    """A leaf that computes sums of signs of its input, each times a scale, plus a bias."""

    byte: int
    """The byte that stands for +1 in what ``with_threshold`` gives; 0 stands for −1."""

    @property
    @abstractmethod
    def takes_signs(self) -> bool:
        """Whether the signs of its input are all it needs to know."""

    @abstractmethod
    def affine(self, sums: Tensor) -> Tensor:
        """What the layer gives for sums of signs (1, C, …)."""

    @abstractmethod
    def outputs(self) -> int:
        """Output channels."""

    @abstractmethod
    def reach(self) -> int:
        """The largest sum of signs: weights per output."""

    @abstractmethod
    def with_threshold(self, turned: Tensor, threshold: Tensor) -> Leaf | None:
        """The leaf that gives bytes, signs of ±z + threshold, minus where ``turned``; None where that does not pay.

        ``turned``: (C,) flags; ``threshold``: (C,) whole numbers.
        """

    @abstractmethod
    def reading_bytes(self, high: int, turned: Tensor) -> SignLeaf | None:
        """The leaf whose input is signs as bytes 0 and ``high``, opposite in the channels ``turned``, or None."""

    def deploy_with(self, call: fx.Node, modules: Mapping[fx.Node, nn.Module]) -> Mapping[fx.Node, nn.Module]:
        way = _way(call, modules) if self.takes_signs else None
        if way is None:
            return {}
        turned, threshold = way.threshold(self)
        own = self.with_threshold(turned, threshold)
        reader = way.reader.reading_bytes(self.byte, way.turned(len(turned)))
        if own is None or reader is None:
            return {}
        return {call: own, **dict.fromkeys(way.absorbed, nn.Identity()), way.end: reader}


@dataclass(frozen=True)
class _Way:
    """What stands between a layer and the next: modules before and behind the pooling, in order."""

    before: Sequence[nn.Module]
    behind: Sequence[nn.Module]
    pools: bool
    rank: int
    """Dimensions of one sample of the layer's output."""
    absorbed: Sequence[fx.Node]
    """Calls that the threshold makes superfluous."""
    end: fx.Node
    reader: SignLeaf

    def threshold(self, layer: SignLeaf) -> tuple[Tensor, Tensor]:
        """Channels whose sums are turned, and what is then added to them: −τ."""
        modules = [copy.deepcopy(module).cpu().eval() for module in (*self.before, *self.behind)]
        layer = copy.deepcopy(layer).cpu()

        def positive(sums: Tensor) -> Tensor:
            value = layer.affine(sums.float().view(1, -1, *[1] * (self.rank - 1)))
            for module in modules:
                value = module(value)
            return (value.reshape(-1) >= 0) ^ self.turned(len(sums))

        with torch.no_grad():
            falls, least = turning_points(positive, layer.reach(), layer.outputs())
        return falls, -least

    def turned(self, channels: int) -> Tensor:
        """Channels that fall behind the pooling."""
        flags = torch.zeros(channels, dtype=torch.bool)
        if self.pools:
            for module in self.behind:
                if isinstance(module, _BatchNorm) and module.affine:
                    flags ^= module.weight.detach().cpu() < 0
        return flags


def turning_points(positive: Positive, reach: int, channels: int) -> tuple[Tensor, Tensor]:
    """Per channel whether ``positive`` falls, and the least v in [−reach, reach] with ``positive(±v)``, else reach + 1.

    By bisection: ``positive`` must be monotone in every channel.
    """
    low, high = torch.full((channels,), -reach), torch.full((channels,), reach + 1)
    falls = positive(low) & ~positive(-low)
    turn = torch.where(falls, -1, 1)
    while bool((low < high).any()):
        middle = torch.div(low + high, 2, rounding_mode="floor")
        found, open_ = positive(turn * middle), low < high
        high = torch.where(open_ & found, middle, high)
        low = torch.where(open_ & ~found, middle + 1, low)
    return falls, low


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
            rank = len(call.meta["shape"])
            return _Way(before, behind, pools, rank, absorbed, node, module) if module.takes_signs else None
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
