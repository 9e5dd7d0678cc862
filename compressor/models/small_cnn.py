"""Small networks: four for MNIST with a few thousand parameters, and one for the 8×8 digits.

``a1`` to ``a3`` follow "How to reduce training parameters in CNNs while keeping accuracy > 99 %": valid 3×3
convolutions with bias, each followed by ReLU and BatchNorm. Their totals count the running statistics of BatchNorm
as well.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def a1(classes: int = 10) -> nn.Module:
    """8,060 values, 7,968 of them trainable. Input ``(N, 1, 28, 28)``."""
    return _named(
        [*_unit(1, 32), nn.MaxPool2d(2), *_unit(32, 14), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.1)],
        head=nn.Linear(14 * 5 * 5, classes),
    )


def a2(classes: int = 10) -> nn.Module:
    """5,490 values, 5,382 of them trainable. Input ``(N, 1, 28, 28)``; the last convolution makes the classes."""
    drop = nn.Dropout
    layers = [*_unit(1, 4), *_unit(4, 8), nn.MaxPool2d(2), *_unit(8, 16), drop(0.1), *_unit(16, 16), drop(0.1)]
    return _named([*layers, *_unit(16, classes), drop(0.1), nn.AdaptiveAvgPool2d(1), nn.Flatten()])


def a3(classes: int = 10) -> nn.Module:
    """3,170 values, 3,090 of them trainable. Input ``(N, 1, 28, 28)``; the last convolution makes the classes."""
    layers = [*_unit(1, 2), *_unit(2, 4), nn.MaxPool2d(2), *_unit(4, 8), *_unit(8, 16), *_unit(16, classes)]
    return _named([*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()])


def mnist_cnn(classes: int = 10) -> nn.Module:
    """29,074 parameters, a network to prune: wide in channels, small in space. Input ``(N, 1, 28, 28)``.

    BatchNorm takes the place of biases and goes into the kernels in the end: what pruning leaves alone is one value per
    channel then, 130 in all.
    """
    layers = [*_biasless(1, 24, 5, stride=2), *_biasless(24, 32), *_biasless(32, 32), *_biasless(32, 32)]
    return _named([*layers, nn.Conv2d(32, classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()])


def digits_cnn(classes: int = 10) -> nn.Module:
    """A quick network for the 8×8 digits. Input ``(N, 1, 8, 8)``."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 16, 3, padding=1, bias=False),
            bn1=nn.BatchNorm2d(16),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(16, 32, 3, padding=1, bias=False),
            bn2=nn.BatchNorm2d(32),
            relu2=nn.ReLU(),
            pool=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(32 * 4 * 4, 64),
            relu3=nn.ReLU(),
            fc2=nn.Linear(64, classes),
        )
    )


_SHORT = {nn.Conv2d: "conv", nn.ReLU: "relu", nn.BatchNorm2d: "bn", nn.MaxPool2d: "pool", nn.Dropout: "drop"}


def _unit(channels: int, width: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, width, 3), nn.ReLU(), nn.BatchNorm2d(width)]


def _biasless(channels: int, width: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(channels, width, kernel, stride, bias=False), nn.BatchNorm2d(width), nn.ReLU()]


def _named(layers: list[nn.Module], head: nn.Module | None = None) -> nn.Module:
    """The layers in a row, called conv1, relu1, bn1, conv2 …, and ``fc`` at the end where there is a head."""
    named: OrderedDict[str, nn.Module] = OrderedDict()
    counts: dict[str, int] = {}
    for layer in layers:
        kind = _SHORT.get(type(layer), type(layer).__name__.lower())
        counts[kind] = counts.get(kind, 0) + 1
        named[f"{kind}{counts[kind]}" if kind in _SHORT.values() else kind] = layer
    if head is not None:
        named["fc"] = head
    return nn.Sequential(named)
