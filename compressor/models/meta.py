"""Parts shared by the Conv3d and Meta networks, after Kondaurova & Semenov, "Optimization of the number of parameters".

A Meta layer mixes G equal groups into M: Y[n,m,…] = Σ_g W[g,m] · X[n,g,…], no bias, W ~ N(0, 1). That is a 1×1
convolution whose channels are the groups and whose pixels are everything else, and it is written as one here.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def unit(channels: int, width: int) -> nn.Sequential:
    """Convolution 3×3 with bias, PReLU with one slope, BatchNorm."""
    return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.PReLU(), nn.BatchNorm2d(width))


class Meta(nn.Module):
    """``(N, G, …)`` to ``(N, M, …)``: one weight for every pair of groups."""

    def __init__(self, groups: int, mixed: int) -> None:
        super().__init__()
        self.mix = nn.Conv1d(groups, mixed, 1, bias=False)
        nn.init.normal_(self.mix.weight)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mix(x.flatten(2))
        return mixed.reshape(-1, self.mix.out_channels, *x.shape[2:])


class Groups(nn.Module):
    """Equal slices of the channels through one branch each; the results stacked: ``(N, C, …)`` to ``(N, G, …)``."""

    def __init__(self, branches: list[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        slices = x.chunk(len(self.branches), dim=1)
        return torch.stack([branch(part) for branch, part in zip(self.branches, slices, strict=True)], dim=1)


class MetaUnit(nn.Module):
    """In place of a unit: one small unit per group of channels, a Meta layer over the groups, PReLU.

    ``pool2d`` is applied inside every group, ``pool`` to the mixed ``(N, M, C/G, H, W)``.
    """

    def __init__(
        self,
        channels: int,
        groups: int,
        mixed: int,
        *,
        pool2d: Callable[[], nn.Module] | None = None,
        pool: nn.Module | None = None,
    ) -> None:
        super().__init__()
        width = channels // groups
        pools = [] if pool2d is None else [pool2d]
        self.groups = Groups([nn.Sequential(*unit(width, width), *(make() for make in pools)) for _ in range(groups)])
        self.meta = Meta(groups, mixed)
        self.act = nn.PReLU()
        self.pool = pool if pool is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pool(self.act(self.meta(self.groups(x))))
        return y.flatten(1, 2)


class MetaHead(nn.Module):
    """In place of a dense layer: one small dense layer per slice of the features, a Meta layer, PReLU."""

    def __init__(self, features: int, groups: int, width: int, mixed: int) -> None:
        super().__init__()
        self.groups = Groups(
            [nn.Sequential(nn.Linear(features // groups, width), nn.PReLU(), nn.Dropout(0.1)) for _ in range(groups)]
        )
        self.meta = Meta(groups, mixed)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.meta(self.groups(x)))
        return y.flatten(1)


class Conv3dUnit(nn.Module):
    """In place of a unit: the channels as ``groups`` volumes of depth C/groups, one 3×3×3 convolution over them."""

    def __init__(self, groups: int, mixed: int, *, pool: nn.Module | None = None) -> None:
        super().__init__()
        self.volumes = groups
        self.conv = nn.Conv3d(groups, mixed, 3, padding=1)
        self.act = nn.PReLU()
        self.norm = nn.BatchNorm3d(mixed)
        self.pool = pool if pool is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        volume = x.reshape(-1, self.volumes, x.shape[1] // self.volumes, *x.shape[2:])
        y: Tensor = self.pool(self.norm(self.act(self.conv(volume))))
        return y.flatten(1, 2)
