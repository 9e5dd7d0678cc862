"""Three CIFAR-10 networks in four versions each (Kondaurova & Semenov, "Optimization of the number of parameters").

``conv2d`` is the plain network; ``conv3d`` and ``meta`` replace convolutions, ``meta-head`` the first dense layer.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from compressor.models.meta import Conv3dUnit, MetaHead, MetaUnit, unit

Version = Literal["conv2d", "conv3d", "meta", "meta-head"]
VERSIONS: tuple[Version, ...] = ("conv2d", "conv3d", "meta", "meta-head")


def t1(version: Version, classes: int = 10) -> nn.Module:
    """Three units: 88,170 · 83,526 · 84,126 · 26,750 parameters. Input ``(N, 3, 32, 32)``."""
    middle: list[nn.Module]
    if version == "conv3d":
        middle = [Conv3dUnit(1, 2, pool=nn.MaxPool3d((1, 2, 2)))]
    elif version == "meta":
        middle = [MetaUnit(16, 4, 8, pool2d=lambda: nn.MaxPool2d(2))]
    else:
        middle = [unit(16, 32), nn.MaxPool2d(2)]
    head = [MetaHead(2048, 4, 10, 4)] if version == "meta-head" else _hidden(2048, 40)
    return nn.Sequential(
        unit(3, 6),
        unit(6, 16),
        nn.MaxPool2d(2),
        nn.Dropout2d(0.1),
        *middle,
        nn.Dropout2d(0.1),
        nn.Flatten(),
        *head,
        nn.Linear(40, classes),
    )


def t2(version: Version, classes: int = 10) -> nn.Module:
    """Six units: 357,265 · 176,761 · 187,433 · 292,961 parameters. Input ``(N, 3, 32, 32)``."""
    fourth: list[nn.Module]
    sixth: list[nn.Module]
    if version == "conv3d":
        fourth = [Conv3dUnit(4, 8, pool=nn.MaxPool3d(2))]
        sixth = [Conv3dUnit(8, 16, pool=nn.AdaptiveAvgPool3d((8, 3, 3)))]
    elif version == "meta":
        fourth = [MetaUnit(64, 8, 16, pool=nn.MaxPool3d(2))]
        sixth = [MetaUnit(128, 16, 32, pool=nn.AdaptiveAvgPool3d((4, 3, 3)))]
    else:
        fourth = [unit(64, 64), nn.MaxPool2d(2)]
        sixth = [unit(128, 128), nn.AdaptiveAvgPool2d((3, 3))]
    head = [MetaHead(1152, 16, 8, 8)] if version == "meta-head" else _hidden(1152, 64)
    return nn.Sequential(
        unit(3, 16),
        unit(16, 32),
        nn.MaxPool2d(2),
        nn.Dropout(0.1),
        unit(32, 64),
        *fourth,
        nn.Dropout(0.1),
        unit(64, 128),
        *sixth,
        nn.Dropout(0.1),
        nn.Flatten(),
        *head,
        nn.Linear(64, classes),
    )


def t3(version: Version, classes: int = 10) -> nn.Module:
    """Thirty-two residual blocks: 1,573,902 · 846,222 · 931,086 · 1,516,766 parameters. Input ``(N, 3, 32, 32)``."""
    head = [MetaHead(1024, 16, 8, 8)] if version == "meta-head" else _hidden(1024, 64)
    return nn.Sequential(
        unit(3, 16),
        unit(16, 32),
        nn.MaxPool2d(2),
        nn.Dropout(0.1),
        *(ResidualUnits(32, version) for _ in range(16)),
        unit(32, 64),
        nn.MaxPool2d(2),
        *(ResidualUnits(64, version) for _ in range(16)),
        nn.AdaptiveAvgPool2d((4, 4)),
        nn.Flatten(),
        *head,
        nn.Linear(64, classes),
    )


class ResidualUnits(nn.Module):
    """x + two units and dropout, no activation after the sum; the first unit is the one that is replaced."""

    def __init__(self, width: int, version: Version) -> None:
        super().__init__()
        first: nn.Module
        if version == "conv3d":
            first = Conv3dUnit(4, 4)
        elif version == "meta":
            first = MetaUnit(width, 8, 8)
        else:
            first = unit(width, width)
        self.branch = nn.Sequential(first, unit(width, width), nn.Dropout2d(0.1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.branch(x)
        return y


def _hidden(features: int, width: int) -> list[nn.Module]:
    return [nn.Linear(features, width), nn.PReLU(), nn.Dropout(0.2)]
