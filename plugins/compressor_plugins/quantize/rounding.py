"""Rounding to steps, with gradients for what is rounded and for the step.

    q = clip(round(v / s), low, high)        v̂ = q · s
    ∂v̂/∂v = 1 inside the range, 0 outside    ∂v̂/∂s = q − v/s inside, low or high outside

Source: Esser et al., learned step size quantization (arXiv:1902.08153). Steps are learned as logarithms, whose
gradients need none of its scaling: they are relative already.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from compressor.graph.leaf import Leaf, Passes
from compressor_plugins.quantize.effects import slopes


def rounded(v: Tensor, step: Tensor, low: float, high: float) -> Tensor:
    """``v`` rounded to multiples of ``step`` (broadcast against ``v``), differentiable in both."""
    if not (torch.is_grad_enabled() and (v.requires_grad or step.requires_grad)):
        return (v / step).round().clamp(low, high) * step
    inside = (v / step).clamp(low, high)
    return (inside + (inside.round() - inside).detach()) * step


class RoundingLeaf(Leaf):
    """A leaf that rounds, and can be told to compute as if it did not, and to watch what passes.

    Calibration is one matter of all of them together: values are watched while nothing is rounded, some of them are
    followed to the answers of the network, then each learns from what it saw, then layers correct the mean error that
    rounding leaves. What has been calibrated once is left to training from then on.
    """

    ready: Tensor
    """Whether it has been calibrated; part of the state."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("ready", torch.tensor(False))
        self.paused = False
        self.following = False
        """Whether what passes is to be followed, and no more watched."""

    @property
    def rounds_values(self) -> bool:
        return True

    @abstractmethod
    def begin(self) -> None:
        """Start watching, with nothing rounded anywhere."""

    def follow(self) -> list[Tensor] | None:
        """Where what passes from now on is kept, to be asked for its slopes; None where nobody wants to know."""
        return None

    def learn(self, value: Tensor, slope: Tensor) -> None:
        """See a value that was followed, and the slopes of the network's answers for it."""

    @abstractmethod
    def settle(self) -> None:
        """Learn from what was watched; from here on everything rounds."""

    @classmethod
    def calibrate(cls, leaves: Sequence[Leaf], passes: Passes) -> None:
        family = [leaf for leaf in leaves if isinstance(leaf, RoundingLeaf) and not leaf.ready]
        if not family:
            return
        for leaf in family:
            leaf.paused = True
            leaf.begin()
        passes()
        _follow(family, passes)
        for leaf in family:
            leaf.settle()
            leaf.paused = False
            leaf.ready.fill_(True)


def _follow(family: Sequence[RoundingLeaf], passes: Passes) -> None:
    followed = {index: kept for index, leaf in enumerate(family) if (kept := leaf.follow()) is not None}
    if not followed:
        return
    for leaf in family:
        leaf.following = True
    for index, value, slope in slopes(passes, followed):
        family[index].learn(value, slope)
    for leaf in family:
        leaf.following = False
