"""Residual networks for 32×32 images (He et al., arXiv:1512.03385, section 4.2): 6n + 2 layers, widths 16, 32, 64.

Where the width changes, a 1×1 convolution with BatchNorm carries the shortcut.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with BatchNorm, the shortcut added, ReLU."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        same = stride == 1 and channels == width
        self.shortcut = nn.Identity() if same else _projection(channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        total: Tensor = self.relu2(y + self.shortcut(x))
        return total


class ResNet(nn.Module):
    """Input ``(N, 3, 32, 32)``. ``blocks``: blocks per stage."""

    def __init__(self, blocks: int, classes: int = 10, widths: tuple[int, ...] = (16, 32, 64)) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU()
        stages = []
        channels = widths[0]
        for index, width in enumerate(widths):
            strides = [1 if index == 0 else 2, *[1] * (blocks - 1)]
            inputs = [channels, *[width] * (blocks - 1)]
            stages.append(nn.Sequential(*(BasicBlock(c, width, s) for c, s in zip(inputs, strides, strict=True))))
            channels = width
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.relu(self.bn(self.conv(x))))
        logits: Tensor = self.fc(torch.flatten(self.pool(x), 1))
        return logits


def resnet8() -> nn.Module:
    """78,042 parameters."""
    return ResNet(1)


def resnet20(classes: int = 10) -> nn.Module:
    """272,474 parameters for ten classes."""
    return ResNet(3, classes)


def resnet20_c100() -> nn.Module:
    """ResNet-20 for a hundred classes."""
    return resnet20(100)


def _projection(channels: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width))
