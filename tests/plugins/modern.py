"""Small networks of kinds that are no chain of images and rows: channels last, over time, in three dimensions."""

from __future__ import annotations

import torch
from networks import make_sensitive
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.network import Network


class Block(nn.Module):
    """As in ConvNeXt: depthwise, then two linear layers over the pixels, channels last, scaled, added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.act = nn.GELU()
        self.gamma = nn.Parameter(torch.full((width,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.gamma * self.narrow(self.act(self.wide(y)))
        return x + y.permute(0, 3, 1, 2)


class ChannelsLast(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 4, stride=4)
        self.block1, self.block2 = Block(width), Block(width)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block2(self.block1(self.stem(x)))
        scores: Tensor = self.head(self.norm(x.mean([2, 3])))
        return scores


class Volumes(nn.Module):
    """As r3d: residual blocks of Conv3d and BatchNorm3d."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = self._unit(3, width, 1)
        self.unit1, self.unit2 = self._unit(width, width, 1), self._unit(width, width, 1, last=True)
        self.unit3, self.unit4 = self._unit(width, 2 * width, 2), self._unit(2 * width, 2 * width, 1, last=True)
        self.down = nn.Sequential(nn.Conv3d(width, 2 * width, 1, 2, bias=False), nn.BatchNorm3d(2 * width))
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.pool, self.head = nn.AdaptiveAvgPool3d(1), nn.Linear(2 * width, 10)

    @staticmethod
    def _unit(inputs: int, outputs: int, stride: int, *, last: bool = False) -> nn.Sequential:
        layers = [nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm3d(outputs)]
        return nn.Sequential(*layers, *([] if last else [nn.ReLU()]))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.relu1(x + self.unit2(self.unit1(x)))
        x = self.relu2(self.down(x) + self.unit4(self.unit3(x)))
        scores: Tensor = self.head(self.pool(x).flatten(1))
        return scores


class Signals(nn.Module):
    """Over time: convolutions of a line, down and up again."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv1d(2, width, 7, 2, 3), nn.BatchNorm1d(width), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv1d(width, 2 * width, 5, 2, 2), nn.BatchNorm1d(2 * width), nn.ReLU())
        self.same = nn.Sequential(nn.Conv1d(2 * width, 2 * width, 3, 1, 1), nn.BatchNorm1d(2 * width), nn.ReLU())
        self.up = nn.Sequential(nn.ConvTranspose1d(2 * width, width, 4, 2, 1), nn.BatchNorm1d(width), nn.ReLU())
        self.pool, self.head = nn.AdaptiveAvgPool1d(1), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(self.same(self.deep(self.stem(x))))
        scores: Tensor = self.head(self.pool(x).flatten(1))
        return scores


MODERN = {
    "channels-last": (ChannelsLast, (3, 16, 16)),
    "volumes": (Volumes, (3, 6, 8, 8)),
    "signals": (Signals, (2, 40)),
}


def modern(name: str) -> Network:
    kind, shape = MODERN[name]
    torch.manual_seed(0)
    return capture(make_sensitive(kind(), shape), shape, name)
