"""Normalisations that their owner keeps in eval mode while the rest trains: their statistics are weights."""

from __future__ import annotations

from typing import Self

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class Frozen(nn.Module):
    """A layer that stays in eval mode whatever mode its network is in."""

    def train(self, mode: bool = True) -> Self:
        return super().train(False)


class FrozenBatchNorm1d(Frozen, nn.BatchNorm1d):
    """A BatchNorm1d that keeps its statistics."""


class FrozenBatchNorm2d(Frozen, nn.BatchNorm2d):
    """A BatchNorm2d that keeps its statistics."""


class FrozenBatchNorm3d(Frozen, nn.BatchNorm3d):
    """A BatchNorm3d that keeps its statistics."""


_FROZEN: dict[type[_BatchNorm], type[Frozen]] = {
    nn.BatchNorm1d: FrozenBatchNorm1d,
    nn.BatchNorm2d: FrozenBatchNorm2d,
    nn.BatchNorm3d: FrozenBatchNorm3d,
}


def freeze(layer: nn.Module) -> bool:
    """Make a normalisation stay as it is; False where it is none."""
    kind = _FROZEN.get(type(layer))  # type: ignore[arg-type]
    if kind is not None:
        layer.__class__ = kind
        layer.eval()
    return kind is not None
